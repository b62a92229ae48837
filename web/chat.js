// The page: what knows neither document nor network, the view, and the shell.

// ---- Text

const TOKEN = /https?:\/\/[^\s<>"`]{1,1000}|[\p{Alphabetic}\p{M}\p{N}._-]+/giu;
// Of links and mentions in one line.
const MAX_PIECES = 60;
const COMMANDS = ['/nick ', '/me ', '/msg ', '/who ', '/ignore ', '/unignore ', '/help ', '/quit '];

// `text` without case, as the room compares names.
const fold = text => [...text.normalize('NFD')].map(c => c.toLowerCase()).join('')
	.replace(/ß/g, 'ss').replace(/ς/g, 'σ').normalize('NFC');

const bytesOf = text => new TextEncoder().encode(text);

// Those of `chat client`; the stylesheet adds contrast.
const NAME_COLORS = ('af5f00d75f008787005f870000870000875f0087870087af'
	+ '0087d7005fff5f5fff875fffaf00ffaf5fafd700d7d70087').match(/.{6}/g);

// A name's colour, by its FNV-1a.
export function colorOf(name) {
	const hash = bytesOf(fold(name)).reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), 0x811c9dc5);
	return `#${NAME_COLORS[(hash ^ (hash >>> 16)) & 15]}`;
}

// Whether this is a name, not an address.
const isTaken = name => !/[:%]|^[\d.]+$/.test(name);

function trimmed(url) {
	const isSurplus = () => url.split(')').length > url.split('(').length;
	while (/[.,;:!?'…»”’\]}]$/.test(url) || (url.endsWith(')') && isSurplus())) url = url.slice(0, -1);
	return url;
}

// `text` in pieces: plain text, links, and mentions of `name`.
export function pieces(text, name) {
	const wanted = isTaken(name) && fold(name);
	const isMention = word => fold(word) === wanted;
	const all = [];
	let done = 0;
	for (const { 0: raw, index } of text.matchAll(TOKEN)) {
		if (all.length > MAX_PIECES) break;
		const isLink = raw.includes('/');
		// A name may end with punctuation, or stand before some.
		const word = raw.replace(/^[._-]+|\.+$/g, '');
		const found = isLink ? trimmed(raw) : [word, word.replace(/[._-]+$/, '')].find(isMention);
		if (!found) continue;
		const start = index + raw.indexOf(found);
		all.push({ text: text.slice(done, start) }, { kind: isLink ? 'link' : 'mention', text: found });
		done = start + found.length;
	}
	return [...all, { text: text.slice(done) }].filter(piece => piece.text);
}

export function completions(before, names) {
	const start = before.search(/[^\s@(]*$/);
	const word = fold(before.slice(start));
	const isFirst = /^[\s@(]*$/.test(before.slice(0, start));
	const isWanted = word || /^\/(msg|ignore) +$/i.test(before);
	const all = word[0] === '/' && isFirst ? COMMANDS : names.map(name => name + (isFirst ? ': ' : ' '));
	return [start, isWanted ? all.filter(one => fold(one).startsWith(word)) : []];
}

// ---- Lines on their way

// The oldest line unanswered at so many losses in a row is not said again.
const MAX_LOSSES = 2;

// Lines that were said and not answered: none is lost silently, none is said twice. The rules
// are those of src/client/pending.rs. A line with a `request` is the page's own.
class Pending {
	lines = [];
	// So many were sent; they have the numbers from `firstN` on.
	sent = 0;
	firstN = 1;
	losses = 0;

	say(line) {
		const next = line.isAhead ? this.lines.findIndex((other, nth) => nth >= this.sent && !other.isAhead) : -1;
		this.lines.splice(next < 0 ? this.lines.length : next, 0, line);
	}
	// The next line to send; while the others are held, only one that is ahead.
	next(isHeld) {
		const line = this.lines[this.sent];
		if (line && (!isHeld || line.isAhead)) return this.lines[this.sent++];
	}
	ofUser() {
		return this.lines.filter(line => !line.request);
	}
	// The room has answered line `n`; what it answered before is done with, too.
	answered(n) {
		return this.#take(Math.min(n + 1 - this.firstN, this.sent));
	}
	lost() {
		if (this.sent) this.losses++;
	}
	// The connection ends in order; what the room has not `heard` is said again.
	ended(heard) {
		this.answered(heard);
		this.sent = this.losses = 0;
	}
	// The session goes on: those `taken` are done with, and `suspect` may be what ends it.
	resumed(heard) {
		const n = this.firstN;
		const taken = this.answered(heard).map((line, nth) => ({ ...line, n: n + nth }));
		const [suspect] = this.#take(this.losses < MAX_LOSSES ? 0 : 1);
		this.#open(heard, line => !line.isStale);
		return { taken, suspect };
	}
	// Another session has begun. Returns the lines in doubt.
	begun(heard) {
		const sent = this.#take(this.sent);
		this.#open(heard, line => !line.request);
		return sent;
	}
	#open(heard, keep) {
		Object.assign(this, { lines: this.lines.filter(keep), sent: 0, losses: 0, firstN: heard + 1 });
	}
	#take(count) {
		if (count <= 0) return [];
		this.losses = 0;
		this.sent -= Math.min(count, this.sent);
		this.firstN += count;
		return this.lines.splice(0, count);
	}
}

// ---- The session

const PAST_LINES = 100;
// What is tried in place of a name in use: alice2 to alice4.
const MAX_NAME_DIGIT = 4;

// A conversation with the room, over as many connections as it takes. `room` gets what happens, and
// what is to be written.
export function newSession(room, wanted) {
	const s = { pending: new Pending(), seq: 0, name: '', maxLine: 4096, wanted, isComplete: false };
	const { pending } = s;
	const taken = new Map();
	let [welcome, past, isFreshDue, isAsking, digit] = [[], [], false, false, 0];
	// What was known before an absence, and its last item.
	let known, after;

	const tell = (kind, text, words) => room.tell({ kind, text, words });

	function flush() {
		let text = '';
		for (let line; s.isOpen && (line = pending.next(s.gate));) text += `${line.text}\n`;
		// Saved as sent, a line is asked about after a loss.
		room.changed();
		if (text) room.write(text);
	}
	function ask(text, request = {}) {
		pending.say({ text, request, isAhead: true });
		flush();
	}
	function answered(n) {
		taken.delete(n);
		return n && pending.answered(n).pop();
	}
	function named(name) {
		s.name = name;
		room.named(name);
		s.release();
	}
	function speech(event) {
		event.isOwn = event.from === s.you;
		room.people.spoke(event);
		if (event.isOwn) answered(event.n);
		room.tell(event);
	}

	const takes = {
		message: speech,
		action: speech,
		private: speech,
		operator: speech,
		notice: ({ text }) => tell('note', text),
		wait: () => tell('note', 'The room takes your lines slowly.'),
		you: ({ name }) => named(name),
		presence(event) {
			room.people.changed(event);
			const isUs = ([id]) => id === s.you;
			const us = event.renamed?.find(isUs);
			if (us) named(us[2]);
			for (const kind of ['joined', 'left', 'renamed']) event[kind] = event[kind]?.filter(one => !isUs(one));
			room.tell(event);
		},
		reply({ n, to, name, here, people, text }) {
			const request = answered(n)?.request;
			if (to === 'last') return tellPast(request);
			if (people) room.people.are(people, here);
			if (to === 'nick') {
				// A name with a digit was not what its owner wanted.
				if (!request?.isName) room.wished(s.wanted = name);
				text = `You are now ${name}.`;
				named(name);
			} else if (people && !request) {
				text = `${here} here: ${people.map(one => one[1]).join(', ')}`;
			}
			if (text) tell('note', text);
		},
		error({ n, code, text }) {
			const { request, text: line = '' } = answered(n) ?? {};
			if (!request) return tell('trouble', line, text);
			if (request.isName && code.startsWith('name_') && digit < MAX_NAME_DIGIT) {
				return ask(`/nick ${s.wanted}${++digit}`, request);
			}
			if (request.isName) s.gate = pending.ofUser().length && 'held';
			if (line.startsWith('/nick ')) room.unnamed(line.slice(6), text);
			else tellPast(request);
			flush();
		},
		bye({ n, code, heard, again, text }) {
			if (s.isOpen) {
				answered(n);
				pending.ended(heard);
				s.isOpen = false;
			}
			if (again === null) {
				s.token = undefined;
				for (const { text } of pending.ofUser()) tell('trouble', text, 'Not said.');
				pending.lines = [];
			}
			room.ended(code, again, text);
		},
		hello({ you, epoch, token, name, max_line: maxLine, people, here, resumed, seq, heard, lost }) {
			if (s.isOpen) return;
			if (isFreshDue && !resumed) return (isFreshDue = false);
			const { isReloaded } = s;
			known = !isReloaded && s.epoch && { epoch: s.epoch, seq: s.seq, time: s.time };
			Object.assign(s, { you, epoch, token, name, maxLine, isOpen: true, gate: '', isReloaded: false });
			room.people.are(people, here);
			room.named(name);
			if (!resumed) return begin(heard, seq);
			if (lost && !isReloaded) tell('gap', `${lost} events were missed.`);
			const resumption = pending.resumed(heard);
			for (const line of resumption.taken) if (!line.request) taken.set(line.n, line);
			const { suspect } = resumption;
			if (suspect && !suspect.request) tell('trouble', suspect.text, 'Not said: the connection broke twice with it.');
			// The reply comes after all answers that still come.
			const isOlder = isReloaded && !lost;
			ask(isOlder ? `/last ${PAST_LINES} ${s.joined}` : '/last 0', { isBarrier: true, isOlder });
		},
	};

	function missAnswers() {
		for (const { text } of taken.values()) tell('trouble', text, 'The room has this; its answer was lost.');
		taken.clear();
	}
	function begin(heard, seq) {
		missAnswers();
		for (const { text, request } of pending.begun(heard)) {
			if (!request) tell('trouble', text, 'Not known whether the room has this.');
		}
		if (!known) tellWelcome();
		s.seq = s.joined = seq;
		digit = 1;
		after = known && room.last();
		if (s.wanted) {
			s.gate = 'name';
			ask(`/nick ${s.wanted}`, { isName: true });
		}
		// What is older has other numbers.
		if (known && known.epoch !== s.epoch) s.isComplete = true;
		ask(`/last ${PAST_LINES} ${seq}`, known ? { isMissed: true } : { isOlder: true });
	}
	// The greeting's notices, but for the one that introduces the past.
	function tellWelcome() {
		const end = welcome.findIndex((line, nth) => nth && !/^-- (?!operator: )/.test(line));
		const lines = welcome.slice(1, end < 0 ? undefined : Math.max(1, end - 1));
		if (lines.length) tell('note', lines.map(line => line.slice(3)).join('\n'));
	}
	function tellPast(request) {
		let events = past;
		past = [];
		for (const event of events) event.isOwn = event.from === s.you;
		if (!request) return events.forEach(event => room.tell(event));
		if (request.isBarrier) missAnswers();
		if (request.isOlder) {
			isAsking = false;
			s.isComplete = !events.length;
		} else if (request.isMissed) {
			const news = events.filter(event => known.epoch === s.epoch ? event.seq > known.seq : event.time > known.time);
			// An event that was known shows that none is missing.
			const gap = { kind: 'gap', time: news[0]?.time ?? Date.now(), text: 'You were away: some lines may be missing here.' };
			events = news.length < events.length ? news : [gap, ...news];
		}
		room.insert(events, request.isMissed && after);
	}

	return Object.assign(s, {
		ask,
		// What the next page in this tab goes on with; it asks for the log again.
		saved() {
			const { token, epoch, you, joined, wanted } = s;
			return { token, epoch, you, joined, wanted, pending };
		},
		restore(saved) {
			for (const line of saved.pending.lines) line.isStale = line.request;
			Object.assign(pending, saved.pending);
			Object.assign(s, saved, { pending, seq: saved.joined, isReloaded: true });
		},
		connected() {
			welcome = [];
			past = [];
			isFreshDue = !!s.token;
			room.write(`/json\n${s.token ? `/resume ${s.token} ${s.seq}\n` : ''}`);
		},
		// The connection is gone; `isOurDoing` if this page gave it up.
		lost(isOurDoing) {
			if (s.isOpen && !isOurDoing) pending.lost();
			s.isOpen = isAsking = false;
		},
		say(text) {
			for (const line of text.split('\n').filter(line => line.trim())) {
				if (/^\/(json|resume)\b/i.test(line)) tell('trouble', line, 'The page does that by itself.');
				else pending.say({ text: line, isAhead: /^\/nick\b/i.test(line) });
			}
			flush();
		},
		askOlder(seq) {
			if (!s.isOpen || s.isComplete || isAsking) return;
			isAsking = true;
			ask(`/last ${PAST_LINES} ${seq}`, { isOlder: true });
		},
		release() {
			s.gate = '';
			flush();
		},
		take(line) {
			if (line.startsWith('!! ')) return room.refused(line.slice(3));
			if (!line.startsWith('{')) return welcome.push(line);
			const event = JSON.parse(line);
			const { kind, seq } = event;
			event.time = Date.parse(event.time);
			// What is said before the hello comes again.
			if (!s.isOpen && !/^(hello|bye)$/.test(kind)) return;
			if (event.past) return past.push(event);
			if (kind !== 'hello' && seq <= s.seq) return;
			if (event.time) Object.assign(s, { seq, time: event.time });
			takes[kind]?.(event);
		},
	});
}

// ---- The log

// Older ones are dropped, and asked for again.
const MAX_ITEMS = 5000;
const dayOf = item => new Date(item.time).toDateString();
const minuteOf = item => Math.floor(item.time / 60_000);

// What was said and what happened; presence in a row is one item.
const items = [];

function add(item) {
	item.time ||= Date.now();
	const last = items.at(-1);
	if (item.kind === 'presence') {
		if (!presence([item]).length) return;
		item.changes = [{ ...item }];
		if (last?.changes && dayOf(last) === dayOf(item)) return last.changes.push(item);
	}
	items.push(item);
	if (items.length > MAX_ITEMS) items.splice(0, MAX_ITEMS / 10);
}

// Whether `item` begins a day, or says more by the same speaker in the same minute.
function standing(item, before) {
	const isNewDay = !before || dayOf(item) !== dayOf(before);
	const isSame = key => before?.[key] === item[key];
	const isMore = item.kind === 'message' && !item.isUnread && ['kind', 'from', 'name'].every(isSame)
		&& minuteOf(item) === minuteOf(before);
	return { isNewDay, isMore };
}

// What `changes` come to: phrases of a list of names, words, and a further name.
function presence(changes) {
	const phrases = [];
	const net = new Map();
	const more = { left: 0, joined: 0 };
	for (const change of changes) {
		for (const kind in more) more[kind] += change[`${kind}_count`] ?? 0;
		for (const [kind, by] of [['left', -1], ['joined', 1]]) {
			for (const [id, name] of change[kind] ?? []) net.set(id, { name, by: (net.get(id)?.by ?? 0) + by });
		}
		for (const [, from, to] of change.renamed ?? []) phrases.push([[from], 'is now', to]);
	}
	for (const [kind, by] of [['came and went', 0], ['left', -1], ['joined', 1]]) {
		const names = [...net.values()].filter(one => one.by === by).map(one => one.name);
		const count = names.length + (more[kind] ?? 0);
		if (count) phrases.unshift(count === names.length && count <= 5 ? [names, kind] : [[], `${count} ${kind}`]);
	}
	return phrases;
}

// ---- The view

// Elements in the log; more are made by scrolling.
const MAX_NODES = 1000;
const AT_BOTTOM_PX = 24;

const $ = id => document.getElementById(id);
const [scroller, list, line, drawer] = ['scroller', 'log', 'line', 'people'].map($);
const nodes = new WeakMap();
let [from, to, isStuck, lastTop] = [0, 0, true, 0];

// What is said only ever becomes text.
function make(tag, className, ...children) {
	const element = document.createElement(tag);
	element.className = className;
	element.append(...children);
	return element;
}

const button = (words, onclick) => Object.assign(make('button', '', words), { onclick });

function nameOf(name, words = name) {
	const element = make('bdi', 'name', words);
	element.style.setProperty('--ink', colorOf(name));
	return element;
}

function pieceOf({ kind, text }) {
	if (kind !== 'link') return kind ? make('mark', '', text) : text;
	return Object.assign(make('a', '', text), { href: text, target: '_blank', rel: 'noopener noreferrer', dir: 'ltr' });
}

const textOf = (...parts) => Object.assign(make('p', 'text', ...parts), { dir: 'auto' });
const said = item => textOf(...pieces(item.text, session.name).map(pieceOf));
const whose = ({ name, isOwn }) => nameOf(name, isOwn ? 'You' : name);
const phraseOf = ([names, words, further], nth) => [
	nth ? '; ' : '', ...names.flatMap((name, nth) => [nth ? ', ' : '', make('bdi', '', name)]),
	` ${words}`, ...(further ? [' ', make('bdi', '', further)] : []),
];

const RENDER = {
	message: item => [make('div', 'who', whose(item)), said(item)],
	action: item => [textOf(whose(item), ' ', ...said(item).childNodes)],
	private: item => [make('div', 'who', whose(item), ' to ', item.isOwn ? nameOf(item.to) : 'you', ' alone'), said(item)],
	operator: item => [make('div', 'who', make('b', '', 'operator')), said(item)],
	presence: item => [textOf(...presence(item.changes).flatMap(phraseOf))],
	note: item => [textOf(item.text)],
	trouble: item => [textOf(item.text), make('p', 'why', item.words, button('Edit', () => put(item.text)))],
};

function render(item, how) {
	const time = new Date(item.time);
	const node = make('div', `item ${item.kind}`);
	for (const name of ['isMore', 'isOwn']) node.classList.toggle(name, !!(how[name] ?? item[name]));
	if (how.isNewDay) node.append(make('div', 'day', time.toLocaleDateString([], { dateStyle: 'full' })));
	if (item.isUnread) node.append(make('div', 'day new', 'New'));
	const clock = time.toLocaleTimeString([], { timeStyle: 'short', hourCycle: 'h23' });
	node.append(make('time', '', clock), ...(RENDER[item.kind] ?? RENDER.note)(item));
	node.classList.toggle('mention', !item.isOwn && !!node.querySelector('mark'));
	return node;
}

// The node of an item is made again if the item stands otherwise.
function nodeAt(at) {
	const item = items[at];
	const how = standing(item, items[at - 1]);
	const key = JSON.stringify([how, item.isUnread, item.changes?.length]);
	let node = nodes.get(item);
	if (node?.key !== key) {
		node = render(item, how);
		nodes.set(item, Object.assign(node, { item, key, weight: node.querySelectorAll('*').length + 1 }));
	}
	return node;
}

function reach(at, step, most) {
	for (; step < 0 ? at > 0 : at < items.length; at += step) {
		most -= nodeAt(step < 0 ? at - 1 : at).weight;
		if (most < 0) break;
	}
	return at;
}

// Shows the log around what is looked at, which stays where it is.
function paint() {
	const topOf = element => element.getBoundingClientRect().top;
	const isSeen = node => node.getBoundingClientRect().bottom > topOf(scroller);
	const anchor = isStuck ? null : [...list.children].find(isSeen);
	const place = anchor && topOf(anchor);
	const at = anchor ? items.indexOf(anchor.item) : items.length;
	from = reach(at, -1, anchor ? MAX_NODES / 2 : MAX_NODES);
	to = anchor ? reach(at, 1, MAX_NODES / 2) : at;
	const shown = [];
	for (let nth = from; nth < to; nth++) shown.push(nodeAt(nth));
	for (const node of [...list.children]) if (!shown.includes(node)) node.remove();
	shown.forEach((node, nth) => {
		if (list.children[nth] !== node) list.insertBefore(node, list.children[nth] ?? null);
	});
	if (anchor) scroller.scrollTop += topOf(anchor) - place;
	follow();
	scrolled();
}

function follow() {
	if (isStuck) scroller.scrollTop = scroller.scrollHeight;
	lastTop = scroller.scrollTop;
}

function toEnd() {
	isStuck = true;
	draw();
}

function scrolled() {
	const { scrollTop, scrollHeight, clientHeight } = scroller;
	const below = scrollHeight - scrollTop - clientHeight;
	const hasMore = to < items.length;
	// A log that grows does not come loose from its end; who scrolls up does.
	if (below < AT_BOTTOM_PX) isStuck ||= !hasMore;
	else if (scrollTop < lastTop) isStuck = false;
	lastTop = scrollTop;
	const isNearTop = scrollTop < clientHeight;
	if (isNearTop ? from > 0 && !isStuck : hasMore && below < clientHeight) schedule();
	if (isNearTop && !from && list.ariaLive === 'polite') {
		session.askOlder((items.find(item => item.seq)?.seq ?? session.seq + 1) - 1);
	}
	look();
}

// ---- The shell

const HANDSHAKE_MS = 10_000;
// A silent connection on which a line waits is given up.
const QUIET_MS = 20_000;
// So is one that does not answer a page that comes back.
const PROBE_MS = 3_000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
const STABLE_MS = 10_000;
// How long another tab has to claim a session.
const CLAIM_MS = 200;
const MAX_PENDING_LINES = 500;

// A private window may have no storage.
function stored(storage, key, value) {
	try {
		return value === undefined ? window[storage].getItem(key) : window[storage].setItem(key, value);
	} catch {}
}

const people = {
	names: new Map(),
	are(names, here) {
		Object.assign(people, { names: new Map(names), here, isStale: false });
	},
	spoke({ from, name }) {
		if (people.names.delete(from)) people.names.set(from, name);
	},
	changed({ left = [], renamed = [], joined = [], here, ...more }) {
		for (const [id] of left) people.names.delete(id);
		for (const [id, ...names] of [...renamed, ...joined]) people.names.set(id, names.pop());
		people.here = here;
		people.isStale ||= /_count/.test(Object.keys(more));
	},
};

let session, socket, phase, timer, watchdog, frame, mark;
let [words, delay, unread] = ['', FIRST_DELAY_MS, 0];
// Folded names, and the ids that had them.
let ignored = new Map();
const isIgnored = ({ from, name = '', isOwn }) =>
	!isOwn && (ignored.has(fold(name)) || from >= 0 && [...ignored.values()].includes(from));

const room = {
	people,
	last: () => items.at(-1),
	tell(item) {
		if (isIgnored(item)) return;
		const isNews = /^(message|action|private|operator)$/.test(item.kind) && !item.isOwn;
		if (isNews && (document.hidden || !isStuck) && !unread++) {
			unmark();
			mark = item;
			item.isUnread = true;
		}
		add(item);
		schedule();
	},
	// A screen reader reads what is said from now on, not this.
	insert(events, after) {
		if (events.length) list.ariaLive = 'off';
		items.splice(items.indexOf(after) + 1, 0, ...events.filter(event => !isIgnored(event)));
		paint();
		setTimeout(() => {
			list.ariaLive = 'polite';
			scrolled();
		}, 100);
	},
	write(text) {
		if (socket.readyState !== WebSocket.OPEN) return;
		socket.send(bytesOf(text));
		if (!watchdog) watch(QUIET_MS);
	},
	changed() {
		save(false);
		schedule();
	},
	wished: name => stored('localStorage', 'name', name),
	named(name) {
		if (isTaken(name)) $('naming').hidden = true;
		schedule();
	},
	unnamed(name, why) {
		$('naming').hidden = false;
		$('wanted').value ||= name;
		$('refusal').textContent = why;
	},
	refused(why) {
		words = `Not let in: ${why}.`;
	},
	ended(code, again, text) {
		words = code === 'replaced' ? 'You went on in another tab or window.' : `${text}.`;
		if (again === null) phase = 'ended';
		else delay = Math.max(delay, Math.min(again * 1000, LONGEST_DELAY_MS));
	},
};

function unmark() {
	if (mark) mark.isUnread = false;
}

function connect() {
	clearTimeout(timer);
	const since = Date.now();
	const decoder = new TextDecoder();
	let rest = '';
	phase = 'connecting';
	socket = new WebSocket(`${location.origin.replace('http', 'ws')}/ws`);
	socket.binaryType = 'arraybuffer';
	socket.onopen = () => session.connected();
	socket.onmessage = ({ data }) => {
		const lines = (rest + decoder.decode(data, { stream: true })).split('\n');
		rest = lines.pop();
		lines.forEach(line => session.take(line));
		if (session.isOpen && phase === 'connecting') [phase, words] = ['open', ''];
		watch(session.isOpen && !session.pending.sent ? 0 : QUIET_MS);
	};
	socket.onclose = () => {
		if (Date.now() - since > STABLE_MS) delay = FIRST_DELAY_MS;
		lost(false);
	};
	watch(HANDSHAKE_MS);
	schedule();
}

function wake() {
	if (phase === 'offline') return connect();
	if (!session.isOpen) return;
	session.ask('/last 0');
	watch(PROBE_MS);
}

function watch(ms) {
	clearTimeout(watchdog);
	watchdog = ms && setTimeout(() => {
		hangUp();
		lost(true);
	}, ms);
}

function hangUp() {
	socket.onclose = socket.onmessage = null;
	socket.close();
}

// Half the delay is random: not all come back at once.
function lost(isOurDoing) {
	watch(0);
	session.lost(isOurDoing);
	if (phase !== 'ended') {
		phase = 'offline';
		timer = setTimeout(connect, delay * (0.5 + Math.random() / 2));
		delay = Math.min(delay * 2, LONGEST_DELAY_MS);
	}
	schedule();
}

function save(isLeft) {
	const saved = { session: session.saved(), ignored: [...ignored], draft: line.value, isLeft };
	stored('sessionStorage', 'session', session.token ? JSON.stringify(saved) : '');
}

function look() {
	if (!document.hidden && isStuck) unread = 0;
	document.title = `${unread ? `(${unread}) ` : ''}Chat · ${location.host}`;
	$('down').hidden = isStuck;
	$('down').textContent = unread ? `↓ ${unread} new` : '↓';
}

function schedule() {
	look();
	frame ??= requestAnimationFrame(draw);
}

function draw() {
	frame = undefined;
	$('oldest').textContent = session.isComplete ? 'The room remembers nothing older.' : '…';
	$('name').firstChild.textContent = session.name;
	$('here').firstChild.textContent = people.here;
	let before = room.last();
	$('pending').replaceChildren(...session.pending.ofUser().slice(-20).map(({ text }) => {
		const kind = /^\/(?!\/)/.test(text) ? 'note' : 'message';
		const item = { kind, text: text.replace(/^\/\//, '/'), name: session.name, from: session.you, isOwn: true, time: Date.now() };
		const node = render(item, standing(item, before));
		before = item;
		return node;
	}));
	paint();
	drawStatus();
	drawPeople();
}

function drawStatus() {
	const { length } = session.pending.ofUser();
	let [told, label, act] = [words, '', null];
	if (phase === 'ended') {
		[label, act] = ['Join again', () => connect(words = '')];
	} else if (phase === 'offline') {
		told ||= length ? 'Offline. Your lines are kept.' : 'Offline.';
		[label, act] = ['Try now', connect];
	} else if (phase === 'connecting') {
		told ||= 'Connecting…';
	} else if (session.gate === 'held') {
		told = `${length} waiting, meant to be said under your name.`;
		[label, act] = [`Say as ${session.name}`, () => session.release()];
	}
	const [status, does] = $('status').children;
	$('status').hidden = !told;
	if (status.textContent !== told) status.textContent = told;
	Object.assign(does, { textContent: label, hidden: !label, onclick: act });
}

function drawPeople() {
	const [title, , entries, more] = drawer.children;
	if (!document.body.className && !matchMedia('(min-width: 50rem)').matches) return;
	if (people.isStale && session.isOpen) {
		people.isStale = false;
		session.ask('/who');
	}
	const isUs = ([id]) => id === session.you;
	const all = [...people.names].sort((a, b) => isUs(b) - isUs(a) || a[1].localeCompare(b[1]));
	title.lastChild.textContent = people.here;
	more.textContent = people.here > all.length ? `and ${people.here - all.length} more` : '';
	const key = JSON.stringify(all);
	if (entries.key === key) return;
	entries.key = key;
	entries.replaceChildren(...all.map(one => {
		const entry = button(nameOf(one[1]), () => writeTo(one[1]));
		if (isUs(one)) entry.append(' you');
		entry.disabled = isUs(one);
		return make('li', '', entry);
	}));
}

function showPeople(isShown) {
	document.body.className = isShown ? 'drawer' : '';
	$('here').ariaExpanded = isShown;
	$('room').inert = isShown;
	(isShown ? $('close') : $('here')).focus();
	schedule();
}

let [entered, recalled, completing] = [[], 0, null];

function put(text) {
	line.value = text;
	line.focus();
	typed();
}

function writeTo(name) {
	if (document.body.className) showPeople(false);
	put(`/msg ${name} ${line.value.replace(/^\/msg\s+\S*\s*/i, '')}`);
}

function typed() {
	line.style.height = 'auto';
	line.style.height = `${line.scrollHeight + 2}px`;
	const bytes = Math.max(...line.value.split('\n').map(one => bytesOf(one).length));
	const isLong = bytes > session.maxLine;
	const isFull = session.pending.lines.length >= MAX_PENDING_LINES;
	$('composer').className = /^\/msg\s/i.test(line.value) ? 'private' : '';
	$('hint').textContent = isLong ? `Too long: ${bytes} of ${session.maxLine} bytes` : isFull ? 'Too many lines wait' : '';
	$('send').disabled = isLong || isFull || !line.value.trim();
}

function send(event) {
	event.preventDefault();
	if ($('send').disabled) return;
	const text = line.value;
	recalled = entered.push(text);
	put('');
	const [, not, name] = /^\/(un)?ignore\b\s*(.*?)\s*$/i.exec(text) ?? [];
	if (name === undefined) session.say(text);
	else ignore(fold(name), !not);
	unmark();
	toEnd();
}

function ignore(name, isOn) {
	const [id] = [...people.names].find(one => fold(one[1]) === name) ?? [];
	if (name && isOn) ignored.set(name, id);
	else ignored.delete(name);
	const names = [...ignored.keys()].join(', ');
	room.tell({ kind: 'note', text: names ? `Ignored: ${names}. /unignore NAME ends it.` : 'Nobody is ignored.' });
	save(false);
}

function complete(step) {
	if (!completing && step > 0) {
		const names = [...people.names.values()].reverse().filter(name => name !== session.name);
		const [start, candidates] = completions(line.value.slice(0, line.selectionStart), names);
		if (candidates.length) completing = { start, candidates, at: -1 };
	}
	if (!completing) return false;
	const { start, candidates, at } = completing;
	completing.at = (at + step + candidates.length) % candidates.length;
	line.setRangeText(candidates[completing.at], start, line.selectionStart, 'end');
	typed();
	return true;
}

function pressed(event) {
	const { key, keyCode, shiftKey, ctrlKey, altKey, metaKey } = event;
	// 229: an input method's.
	if (keyCode === 229 || ctrlKey || altKey || metaKey) return;
	if (key === 'Tab') {
		if (complete(shiftKey ? -1 : 1)) event.preventDefault();
		return;
	}
	if (key !== 'Shift') completing = null;
	if (key === 'Enter' && !shiftKey) return send(event);
	const at = recalled + { ArrowUp: -1, ArrowDown: 1 }[key];
	if (!(at >= 0 && at <= entered.length) || line.value.includes('\n')) return;
	event.preventDefault();
	put(entered[recalled = at] ?? '');
}

async function start() {
	const channel = new BroadcastChannel('chat');
	let saved = JSON.parse(stored('sessionStorage', 'session') || 'null');
	// A page that was left gave its session up; a tab that is duplicated has a copy of it.
	if (saved && !saved.isLeft) {
		const isHeld = new Promise(resolve => {
			setTimeout(resolve, CLAIM_MS);
			channel.onmessage = ({ data }) => resolve(data.held === saved.session.token);
			channel.postMessage({ asked: saved.session.token });
		});
		if (await isHeld) saved = null;
	}
	const name = stored('localStorage', 'name');
	session = newSession(room, name);
	if (saved) {
		session.restore(saved.session);
		ignored = new Map(saved.ignored);
		line.value = saved.draft;
	}
	channel.onmessage = ({ data }) => {
		if (session.token && data.asked === session.token) channel.postMessage({ held: data.asked });
	};
	$('host').textContent = location.host;
	$('naming').hidden = !!name;
	typed();
	connect();

	line.oninput = typed;
	line.onkeydown = pressed;
	$('composer').onsubmit = send;
	// The button would take the focus, and with it a phone's keyboard.
	$('send').onpointerdown = event => event.preventDefault();
	$('down').onclick = toEnd;
	$('here').onclick = () => showPeople(true);
	$('close').onclick = () => showPeople(false);
	$('name').onclick = () => {
		room.unnamed(isTaken(session.name) ? session.name : '', '');
		$('wanted').select();
	};
	$('unnamed').onclick = () => ($('naming').hidden = true);
	$('naming').onsubmit = event => {
		event.preventDefault();
		const name = $('wanted').value.trim();
		if (name) session.ask(`/nick ${name}`, { isWish: true });
		line.focus();
	};
	document.onclick = ({ target }) => {
		const { name, isOwn } = target.closest('.item')?.item ?? {};
		if (target.className === 'name' && name && !isOwn) writeTo(name);
		// What is beside the drawer is inert.
		if (target === document.body && target.className) showPeople(false);
	};
	document.onkeydown = ({ key }) => {
		if (key === 'Escape') document.body.className ? showPeople(false) : toEnd();
	};
	scroller.onscroll = scrolled;
	const resized = new ResizeObserver(follow);
	for (const element of [scroller, list, $('pending')]) resized.observe(element);
	onoffline = ononline = wake;
	document.onvisibilitychange = () => {
		save(false);
		if (!document.hidden) wake();
		schedule();
	};
	onpagehide = () => {
		save(true);
		hangUp();
	};
	// The session was given up, perhaps to another page in this tab.
	onpageshow = ({ persisted }) => persisted && location.reload();
	// iOS lays its keyboard over the page.
	const { visualViewport: seen } = window;
	seen.onresize = seen.onscroll = () => {
		if (seen.scale !== 1) return;
		document.body.style.setProperty('--height', `${seen.height}px`);
		document.body.style.setProperty('--top', `${seen.offsetTop}px`);
	};
}

start();
