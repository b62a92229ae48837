// The page: what is pure, the view, and the shell.

// ---- Text

const TOKEN = /https?:\/\/[^\s<>"`]{1,1000}|[\p{Alphabetic}\p{M}\p{N}._-]+/giu;
// In a line.
const MAX_PIECES = 60;
const COMMANDS = ['/nick ', '/me ', '/msg ', '/who ', '/ignore ', '/unignore ', '/help ', '/quit '];

// `text` without case, as the room compares names.
const fold = text => text.normalize('NFD').toLowerCase().replace(/ß/g, 'ss').replace(/ς/g, 'σ').normalize('NFC');

const bytesOf = text => new TextEncoder().encode(text);

// As in `chat client`; the stylesheet adds contrast.
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

// At so many losses in a row, the oldest line unanswered is given up.
const MAX_LOSSES = 2;

// Lines not answered, by the rules of src/client/pending.rs. One with a `request` is the page's own.
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
	// The next line to send, if others are held only one that is ahead.
	next(isHeld) {
		const line = this.lines[this.sent];
		if (line && (!isHeld || line.isAhead)) return this.lines[this.sent++];
	}
	ofUser() {
		return this.lines.filter(line => !line.request);
	}
	// Line `n` is answered, and all before it are.
	answered(n) {
		return this.#take(Math.min(n + 1 - this.firstN, this.sent));
	}
	lost() {
		if (this.sent) this.losses++;
	}
	// What the room has not `heard` is said again.
	ended(heard) {
		this.answered(heard);
		this.sent = this.losses = 0;
	}
	// The session goes on without those `taken`, and without what may end it.
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
const MORE_HELP = '\n  /ignore NAME      hide what NAME says, here alone; /unignore NAME';
// For a name in use: alice2 to alice4.
const MAX_NAME_DIGIT = 4;

// A conversation over any number of connections. `room` gets what happens and what to write.
export function newSession(room, wanted) {
	const s = { pending: new Pending(), seq: 0, name: '', maxLine: 4096, wanted };
	const { pending } = s;
	const taken = new Map();
	let welcome, past, isFreshDue, isAsking, isBack, digit;
	// What was known before an absence, and its last item. No password is saved.
	let known, after, password;

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
	function named(name, time) {
		const words = isBack ? 'Back in the room, as' : 'You are now';
		if (isBack || s.name !== name) room.tell({ kind: 'note', time, text: `${words} ${name}.` });
		isBack = false;
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
		you({ name }) {
			room.wished(s.wanted = name);
			named(name);
		},
		presence(event) {
			room.people.changed(event);
			const isUs = ([id]) => id === s.you;
			const us = event.renamed.find(isUs);
			if (us) named(us[2], event.time);
			for (const kind of ['joined', 'left', 'renamed']) event[kind] = event[kind].filter(one => !isUs(one));
			room.tell(event);
		},
		reply({ n, to, name, here, people, text }) {
			const request = answered(n)?.request;
			if (to === 'last') return tellPast(request);
			if (people) room.people.are(people, here);
			if (to === 'nick') {
				// A name with a digit was not what its owner wanted.
				if (!request?.isName) room.wished(s.wanted = name);
				// Whoever asks is told.
				s.name = '';
				named(name);
			} else if (to === 'help') {
				return tell('note help', text + MORE_HELP);
			} else if (people && !request) {
				text = `${here} here: ${people.map(one => one[1]).join(', ')}`;
			}
			if (text) tell('note', text);
		},
		error({ n, code, text }) {
			if (!s.isOpen) {
				// It only asks for the password.
				welcome = [];
				return password && code !== 'wrong_password' ? s.unlock(password) : room.locked(text);
			}
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
			known = !isReloaded && s.epoch && { ...s };
			Object.assign(s, { you, epoch, token, name, maxLine, isOpen: true, gate: '', isReloaded: false });
			room.people.are(people, here);
			room.named(name);
			if (!resumed) return begin(heard, seq);
			if (lost && !isReloaded) tell('gap', `${lost} events were missed.`);
			const { taken: lines, suspect } = pending.resumed(heard);
			for (const line of lines) if (!line.request) taken.set(line.n, line);
			if (suspect && !suspect.request) tell('trouble', suspect.text, 'Not said: the connection broke twice.');
			// The reply comes after all answers that still come.
			const isOlder = isReloaded && !lost;
			ask(isOlder ? `/last ${PAST_LINES} ${s.joined}` : '/last 0', { isBarrier: true, isOlder });
		},
	};

	const hail = command => room.write(`${command}\n${s.token ? `/resume ${s.token} ${s.seq}\n` : ''}`);

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
		isBack = !!known;
		if (s.wanted) {
			s.gate = 'name';
			ask(`/nick ${s.wanted}`, { isName: true });
		} else if (isBack) {
			named(s.name);
		}
		// What is older has other numbers.
		if (known && known.epoch !== s.epoch) s.isComplete = true;
		ask(`/last ${PAST_LINES} ${seq}`, known ? { isMissed: true } : { isOlder: true });
	}
	// The greeting's notices, but for the one that introduces the past.
	function tellWelcome() {
		const end = welcome.findIndex((line, nth) => nth && !/^-- (?!operator[@:])/.test(line));
		const lines = welcome.slice(1, end < 0 ? undefined : Math.max(1, end - 1));
		if (lines.length) tell('note', lines.map(line => line.slice(3)).join('\n'));
	}
	function tellPast(request) {
		let events = past;
		past = [];
		for (const event of events) event.isOwn = event.from === s.you;
		if (!request) return room.past(events);
		if (request.isBarrier) missAnswers();
		if (request.isOlder) {
			isAsking = false;
			s.isComplete = !events.length;
		} else if (request.isMissed) {
			const key = known.epoch === s.epoch ? 'seq' : 'time';
			const news = events.filter(event => event[key] > known[key]);
			// An event that was known shows that none is missing.
			const gap = { kind: 'gap', time: news[0]?.time ?? Date.now(), text: 'You were away: some lines may be missing here.' };
			events = news.length < events.length ? news : [gap, ...news];
		}
		room.insert(events, request.isMissed && after);
	}

	return Object.assign(s, {
		ask,
		// Goes on as the page before in this tab, and asks for the log again.
		restore(saved) {
			for (const line of saved.pending.lines) line.isStale = line.request;
			Object.assign(pending, saved.pending);
			Object.assign(s, saved, { pending, seq: saved.joined, isReloaded: true, isOpen: false, isComplete: false });
		},
		connected() {
			welcome = [];
			past = [];
			isFreshDue = !!s.token;
			hail('/json');
		},
		unlock: given => hail(`/pass ${password = given}`),
		// `isOurDoing` if this page gave the connection up.
		lost(isOurDoing) {
			if (s.isOpen && !isOurDoing) pending.lost();
			s.isOpen = isAsking = false;
		},
		say(text) {
			for (const line of text.split('\n').filter(line => line.trim())) {
				if (/^\/(json|resume|pass)\b/i.test(line)) tell('trouble', line, 'The page does that itself.');
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
			if (!s.isOpen && !/^(hello|bye|error)$/.test(kind)) return;
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
// Under one name.
const MAX_ROWS = 10;
const MAX_FOLDED = 100;
const dayOf = item => new Date(item.time).toDateString();

// Presence in a row is one item.
const items = [];

function add(item) {
	item.time ||= Date.now();
	const last = items.at(-1);
	if (item.kind === 'presence') {
		if (!presence([item]).length) return;
		item.changes = [{ ...item }];
		if (last?.changes?.length < MAX_FOLDED && dayOf(last) === dayOf(item)) return last.changes.push(item);
	}
	number(item, last);
	items.push(item);
	if (items.length > MAX_ITEMS) items.splice(0, MAX_ITEMS / 10);
}

// Whether `item` begins a day, and its row among one speaker's lines in a minute.
function number(item, before) {
	const keyOf = ({ kind, from, name, isPast, time }) => [kind, from, name, isPast, Math.floor(time / 60_000)].join();
	item.isNewDay = !before || dayOf(item) !== dayOf(before);
	item.row = item.kind === 'message' && before && keyOf(item) === keyOf(before) ? before.row + 1 : 0;
}

const VERBS = ['left', 'was kicked', 'came and went', 'came back', 'is now', 'joined'];

// What `changes` come to: phrases of names, words, and a further name.
export function presence(changes) {
	// By id: a name, what became of it, and the name before.
	const all = new Map();
	const counts = { left: 0, joined: 0 };
	for (const { left, kicked = [], renamed, joined, left_count, joined_count = 0 } of changes) {
		if (left_count) counts.left += left_count - kicked.length;
		counts.joined += joined_count;
		for (const [id, name] of left) all.set(id, { name, verb: all.get(id)?.verb === 'joined' ? 'came and went' : 'left' });
		for (const [id, name] of kicked) all.set(id, { name, verb: 'was kicked' });
		for (const [id, before, name] of renamed) all.set(id, { verb: 'is now', before, ...all.get(id), name });
		for (const [id, name] of joined) {
			const [old] = [...all].find(([, one]) => one.name === name && /^left|^was/.test(one.verb)) ?? [];
			all.set(id, { name, verb: all.delete(old) ? 'came back' : 'joined' });
		}
	}
	return VERBS.flatMap(verb => {
		const those = [...all.values()].filter(one => one.verb === verb);
		if (verb === 'is now') return those.map(({ before, name }) => [[before], before === name ? ' is still ' : ' is now ', name]);
		const count = those.length + (counts[verb] ?? 0);
		const names = count > 5 || count > those.length ? [count] : those.map(one => one.name);
		return count ? [[names, ` ${count > 1 ? verb.replace('was', 'were') : verb}`]] : [];
	});
}

// ---- The view

// Elements in the log; more are made by scrolling.
const MAX_NODES = 1000;
const AT_BOTTOM_PX = 24;

const { body } = document;
const $ = id => document.getElementById(id);
const [scroller, list, line, drawer] = ['scroller', 'log', 'line', 'people'].map($);
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
	element.style = `--ink: ${colorOf(name)}`;
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
	words, make('bdi', '', further ?? ''),
];

const RENDER = {
	message: item => [make('div', 'who', whose(item)), said(item)],
	action: item => [textOf(nameOf(item.name), ' ', ...said(item).childNodes)],
	private: item => [make('div', 'who', whose(item), ' to ', item.isOwn ? nameOf(item.to) : 'you', ' alone'), said(item)],
	operator: item => [make('div', 'who', make('b', '', item.at ? `operator@${item.at}` : 'operator')), said(item)],
	presence: item => [textOf(...presence(item.changes).flatMap(phraseOf))],
	note: item => [textOf(item.text)],
	trouble: item => [textOf(item.text), make('p', 'why', item.words, button('Edit', () => put(item.text)))],
};

function render(item) {
	const { kind, isOwn, isPast, isUnread } = item;
	const time = new Date(item.time);
	const isMore = item.row % MAX_ROWS && !isUnread;
	const node = make('div', `item ${kind}${isOwn ? ' isOwn' : ''}${isPast ? ' isPast' : ''}${isMore ? ' isMore' : ''}`);
	if (item.isNewDay) node.append(make('div', 'day', time.toLocaleDateString([], { dateStyle: 'full' })));
	if (isUnread) node.append(make('div', 'day new', 'New'));
	const clock = time.toLocaleTimeString([], { timeStyle: 'short', hourCycle: 'h23' });
	node.append(make('time', '', clock), ...(RENDER[kind] ?? RENDER.note)(item));
	return node;
}

// A node is made again if its item stands otherwise.
function nodeOf(item) {
	const key = JSON.stringify([item.isNewDay, item.row, item.isUnread, item.changes?.length]);
	if (item.node?.key !== key) {
		const node = render(item);
		item.node = Object.assign(node, { item, key, weight: node.querySelectorAll('*').length + 1 });
	}
	return item.node;
}

function reach(at, step, most) {
	for (; step < 0 ? at > 0 : at < items.length; at += step) {
		most -= nodeOf(items[step < 0 ? at - 1 : at]).weight;
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
	const shown = items.slice(from, to).map(nodeOf);
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
	// A log that grows does not come loose from its end.
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
// So is one that fails a page that comes back.
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
		return value === undefined ? window[storage][key] : (window[storage][key] = value);
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
	changed({ left, kicked = [], renamed, joined, here, ...more }) {
		for (const [id] of [...left, ...kicked]) people.names.delete(id);
		for (const [id, ...names] of [...renamed, ...joined]) people.names.set(id, names.pop());
		people.here = here;
		people.isStale ||= /_count/.test(Object.keys(more));
	},
};

let session, socket, phase, timer, watchdog, frame;
let [words, delay, unread, mark] = ['', FIRST_DELAY_MS, 0, {}];
// Folded names, and the ids that had them.
let ignored = new Map();
const isIgnored = ({ from, name = '', isOwn }) =>
	!isOwn && (ignored.has(fold(name)) || from >= 0 && [...ignored.values()].includes(from));

const room = {
	people,
	last: () => items.at(-1),
	tell(item) {
		if (isIgnored(item)) return;
		const isNews = item.seq && item.kind !== 'presence' && !item.isOwn && !item.isPast;
		if (isNews && (document.hidden || !isStuck) && !unread++) {
			mark.isUnread = false;
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
		items.forEach((item, at) => number(item, items[at - 1]));
		paint();
		setTimeout(() => {
			list.ariaLive = 'polite';
			scrolled();
		}, 100);
	},
	// Asked for by the user: it may stand above already.
	past(events) {
		const text = `Last ${events[1] ? `${events.length} lines` : 'line'}:`;
		for (const item of [{ kind: 'note', text }, ...events]) room.tell({ ...item, isPast: true });
	},
	write(text) {
		if (socket.readyState !== WebSocket.OPEN) return;
		socket.send(bytesOf(text));
		if (!watchdog) watch(QUIET_MS);
	},
	changed() {
		save();
		schedule();
	},
	wished: name => stored('localStorage', 'name', name),
	named(name) {
		if (isTaken(name)) $('naming').hidden = true;
		schedule();
	},
	unnamed(name, why) {
		const [, near] = /: \/nick (\S+)$/.exec(why) ?? [];
		$('naming').hidden = false;
		$('wanted').value = near || $('wanted').value || name;
		$('refusal').textContent = near && /\s/.test(name) ? `Spaces will not do. ${near}?` : why;
	},
	locked(text) {
		[phase, words] = ['locked', text.split(':')[0]];
		// Nobody takes another field for it.
		$('inside').hidden = true;
		drawStatus();
		$('lock')[0].focus();
	},
	refused: why => (words = `Not let in: ${why}.`),
	ended(code, again, text) {
		words = {
			replaced: 'You went on in another tab.',
			closing: 'The room has closed; trying again.',
		}[code] ?? `${text}.`;
		if (again === null) phase = 'ended';
		else delay = Math.max(delay, Math.min(again * 1000, LONGEST_DELAY_MS));
	},
};

function connect() {
	clearTimeout(timer);
	const since = Date.now();
	const decoder = new TextDecoder();
	let rest = '';
	phase = 'connecting';
	socket = new WebSocket(`${location.origin.replace('http', 'ws')}/ws`);
	socket.binaryType = 'arraybuffer';
	socket.onopen = session.connected;
	socket.onmessage = ({ data }) => {
		const lines = (rest + decoder.decode(data, { stream: true })).split('\n');
		rest = lines.pop();
		lines.forEach(session.take);
		if (session.isOpen && phase === 'connecting') {
			[phase, words] = ['open', ''];
			if ($('inside').hidden) {
				$('inside').hidden = false;
				put(line.value);
			}
		}
		watch(phase === 'locked' || session.isOpen && !session.pending.sent ? 0 : QUIET_MS);
	};
	socket.onclose = () => {
		if (Date.now() - since > STABLE_MS) delay = FIRST_DELAY_MS;
		lost();
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

// At random: not all come back at once.
function lost(isOurDoing) {
	watch(0);
	session.lost(isOurDoing);
	people.are([], 0);
	if (phase !== 'ended') {
		phase = 'offline';
		timer = setTimeout(connect, delay * (0.5 + Math.random() / 2));
		delay = Math.min(delay * 2, LONGEST_DELAY_MS);
	}
	schedule();
}

function save(isLeft) {
	const saved = { session, ignored: [...ignored], draft: line.value, isLeft };
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
	$('oldest').textContent = session.isComplete ? 'That is all the room remembers.' : '…';
	$('name').firstChild.textContent = session.name;
	$('here').textContent = drawer.firstElementChild.textContent = people.here ? `${people.here} here` : '';
	let before = room.last();
	$('pending').replaceChildren(...session.pending.ofUser().slice(-20).map(({ text }) => {
		const kind = /^\/(?!\/)/.test(text) ? 'note' : 'message';
		const item = { kind, text: text.replace(/^\/\//, '/'), name: session.name, from: session.you, isOwn: true, time: Date.now() };
		number(item, before);
		return render(before = item);
	}));
	paint();
	drawStatus();
	drawPeople();
}

function drawStatus() {
	const { length } = session.pending.ofUser();
	const [told, label, onclick] = {
		ended: [words, 'Join again', () => connect(words = '')],
		offline: [words || `Offline.${length ? ' Your lines are kept.' : ''}`, 'Try now', connect],
		connecting: [words || 'Connecting…'],
		locked: [words],
		open: session.gate !== 'held' ? []
			: [`${length} waiting, meant to be said under your name.`, `Say as ${session.name}`, session.release],
	}[phase];
	$('lock').hidden = phase !== 'locked';
	const [status, does] = $('status').children;
	$('status').hidden = !told;
	if (status.textContent !== told) status.textContent = told;
	Object.assign(does, { textContent: label, hidden: !label, onclick });
}

function drawPeople() {
	const [, , entries, more] = drawer.children;
	if (!body.className && !matchMedia('(min-width: 50rem)').matches) return;
	if (people.isStale) {
		people.isStale = false;
		session.ask('/who');
	}
	const isUs = ([id]) => id === session.you;
	const all = [...people.names].sort((a, b) => isUs(b) - isUs(a) || a[1].localeCompare(b[1]));
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
	body.className = isShown ? 'drawer' : '';
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
	showPeople(false);
	put(`/msg ${name} ${line.value.replace(/^\/msg\s+\S*\s*/i, '')}`);
}

function typed() {
	line.style.height = 'auto';
	line.style.height = `${line.scrollHeight + 2}px`;
	const bytes = Math.max(...line.value.split('\n').map(one => bytesOf(one).length));
	const isLong = bytes > session.maxLine;
	const isFull = session.pending.lines.length >= MAX_PENDING_LINES;
	$('composer').className = /^\/msg\s/i.test(line.value) ? 'isAlone' : '';
	$('hint').textContent = isLong ? `Too long: ${bytes} of ${session.maxLine} bytes` : isFull ? 'Too many lines wait' : '';
	$('send').disabled = isLong || isFull || !line.value.trim();
}

function send(event) {
	event.preventDefault();
	if ($('send').disabled) return;
	const text = line.value;
	recalled = entered.push(text);
	put('');
	const [, not, name] = /^\/(un)?ignore(?!\S)\s*(.*?)[\s:,]*$/i.exec(text) ?? [];
	if (name === undefined) session.say(text);
	else ignore(fold(name), !not);
	mark.isUnread = false;
	toEnd();
}

function ignore(name, isOn) {
	const [id] = [...people.names].find(one => fold(one[1]) === name) ?? [];
	if (name && isOn) ignored.set(name, id);
	else ignored.delete(name);
	const names = [...ignored.keys()].join(', ');
	const words = names ? `${names}; /unignore NAME ends that` : 'nobody; /ignore NAME hides what NAME says, here alone';
	room.tell({ kind: 'note', text: `ignoring ${words}` });
	save();
}

function complete(event) {
	const step = event.shiftKey ? -1 : 1;
	if (!completing && step > 0) {
		const names = [...people.names.values()].reverse().filter(name => name !== session.name);
		const [start, candidates] = completions(line.value.slice(0, line.selectionStart), names);
		if (candidates.length) completing = { start, candidates, at: -1 };
	}
	if (!completing) return;
	event.preventDefault();
	const { start, candidates, at } = completing;
	completing.at = (at + step + candidates.length) % candidates.length;
	line.setRangeText(candidates[completing.at], start, line.selectionStart, 'end');
	typed();
}

function pressed(event) {
	const { key, keyCode, shiftKey, ctrlKey, altKey, metaKey } = event;
	// 229: an input method's.
	if (keyCode === 229 || ctrlKey || altKey || metaKey) return;
	if (key === 'Tab') return complete(event);
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
	// A page that was left gave its session up; a duplicated tab has a copy.
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
	connect();

	line.oninput = typed;
	line.onkeydown = pressed;
	$('composer').onsubmit = send;
	// Losing the focus would close a phone's keyboard.
	$('send').onpointerdown = event => event.preventDefault();
	$('down').onclick = toEnd;
	$('here').onclick = () => showPeople(true);
	$('close').onclick = () => showPeople(false);
	$('name').onclick = () => {
		room.unnamed(isTaken(session.name) ? session.name : '', '');
		$('wanted').select();
	};
	$('unnamed').onclick = () => ($('naming').hidden = true);
	$('lock').onsubmit = event => {
		event.preventDefault();
		phase = 'connecting';
		session.unlock(event.target[0].value);
		event.target.reset();
	};
	$('naming').onsubmit = event => {
		event.preventDefault();
		const name = $('wanted').value.trim();
		if (name) session.ask(`/nick ${name}`);
		line.focus();
	};
	document.onclick = ({ target }) => {
		const { name, isOwn } = target.closest('.item')?.item ?? {};
		if (target.className === 'name' && name && !isOwn) writeTo(name);
		// What is beside the drawer is inert.
		if (target === body && target.className) showPeople(false);
	};
	document.onkeydown = ({ key }) => {
		if (key === 'Escape') body.className ? showPeople(false) : toEnd();
	};
	scroller.onscroll = scrolled;
	const resized = new ResizeObserver(follow);
	for (const element of [scroller, list, $('pending')]) resized.observe(element);
	onoffline = ononline = wake;
	document.onvisibilitychange = () => {
		save();
		if (!document.hidden) wake();
		schedule();
	};
	onpagehide = () => {
		save(true);
		hangUp();
	};
	// Another page in this tab may have the session.
	onpageshow = ({ persisted }) => persisted && location.reload();
	// iOS lays its keyboard over the page.
	const { visualViewport: seen } = window;
	seen.onresize = seen.onscroll = () => {
		if (seen.scale !== 1) return;
		body.style = `--height: ${seen.height}px; --top: ${seen.offsetTop}px`;
	};
}

start();
