// The room's page: text, pending lines, session and log, which know neither page nor network; the
// view; and the shell that joins them.

// ---- Text

const TOKEN = /https?:\/\/[^\s<>"`]{1,1000}|[\p{Alphabetic}\p{M}\p{N}._-]+/giu;
/** More links and mentions in one line stay plain: no line makes a thousand elements. */
const MAX_PIECES = 60;
const COMMANDS = ['/nick ', '/me ', '/msg ', '/who ', '/ignore ', '/unignore ', '/help ', '/quit '];

/** `text` for comparison without case, as the room compares names. */
export const fold = text => [...text.normalize('NFD')].map(c => c.toLowerCase()).join('')
  .replace(/ß/g, 'ss').replace(/ς/g, 'σ').normalize('NFC');

const bytesOf = text => new TextEncoder().encode(text);

/** The number of a name's colour: the one that `chat client` gives it (FNV-1a). */
export function colorOf(name) {
  const hash = bytesOf(fold(name)).reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), 0x811c9dc5);
  return (hash ^ (hash >>> 16)) & 15;
}

/** Whether somebody took this name: it is no address. */
const isTaken = name => !/[:%]|^[\d.]+$/.test(name);

/** `url` without the punctuation of the sentence around it. */
function trimmed(url) {
  const isSurplus = () => url.split(')').length > url.split('(').length;
  while (/[.,;:!?'…»”’\]}]$/.test(url) || (url.endsWith(')') && isSurplus())) url = url.slice(0, -1);
  return url;
}

/** `text` in pieces: plain text, links, and mentions of `name`. */
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

/** Where the word begins that ends `before`, and what may stand for it. */
export function completions(before, names) {
  const start = before.search(/[^\s@(]*$/);
  const word = fold(before.slice(start));
  const isFirst = /^[\s@(]*$/.test(before.slice(0, start));
  const isWanted = word || /^\/(msg|ignore) +$/i.test(before);
  const all = word[0] === '/' && isFirst ? COMMANDS : names.map(name => name + (isFirst ? ': ' : ' '));
  return [start, isWanted ? all.filter(one => fold(one).startsWith(word)) : []];
}

// ---- Lines on their way

/** A line that is the oldest unanswered at so many losses in a row is not said again. */
const MAX_LOSSES = 2;

/**
 * Lines that were said and not answered: none is lost silently, none is said twice. The rules
 * are those of src/client/pending.rs. A line with a `request` is the page's own.
 */
export class Pending {
  lines = [];
  /** So many were sent; they have the numbers from `firstN` on. */
  sent = 0;
  firstN = 1;
  losses = 0;

  /** Says `line`; one that `isAhead` before all others that were not sent. */
  say(line) {
    const next = line.isAhead ? this.lines.findIndex((other, nth) => nth >= this.sent && !other.isAhead) : -1;
    this.lines.splice(next < 0 ? this.lines.length : next, 0, line);
  }
  /** The next line to send; while the others are `held`, only one that is ahead. */
  next(held) {
    const line = this.lines[this.sent];
    if (line && (!held || line.isAhead)) return this.lines[this.sent++];
  }
  ofUser() {
    return this.lines.filter(line => !line.request);
  }
  /** The room has answered line `n`; what it answered before is done with, too. */
  answered(n) {
    return this.#take(Math.min(n + 1 - this.firstN, this.sent));
  }
  lost() {
    if (this.sent) this.losses++;
  }
  /** The session goes on: those `taken` are done with, and `suspect` may be what ends it. */
  resumed(heard) {
    const n = this.firstN;
    const taken = this.answered(heard).map((line, nth) => ({ ...line, n: n + nth }));
    const [suspect] = this.#take(this.losses < MAX_LOSSES ? 0 : 1);
    this.#open(heard, line => !line.isStale);
    return { taken, suspect };
  }
  /** Another session has begun. Returns the lines in doubt. */
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
/** As many are asked for after an absence. */
const MISSED_LINES = 500;
/** What is tried in place of a name in use: alice2 to alice4. */
const MAX_NAME_DIGIT = 4;

/**
 * One person's conversation with the room, over as many connections as it takes. Knows no socket:
 * `room` gets what happens, by tell(item), insert(items, after), write(text) and so on.
 */
export class Session {
  pending = new Pending();
  seq = 0;
  time = 0;
  name = '';
  maxLine = 4096;
  isOpen = false;
  /** Lines wait: for the answer about the 'name', or 'held' for the user to decide without it. */
  gate = '';
  /** Nothing is older than the log's beginning; or that is being asked. */
  isComplete = false;
  isAsking = false;
  #past = [];
  #taken = new Map();

  constructor(room, wanted) {
    Object.assign(this, { room, wanted });
  }

  /** What a page needs that goes on with this session, and asks for its log again. */
  saved() {
    const { token, epoch, you, joined, wanted, pending: { lines, sent, firstN } } = this;
    return { token, epoch, you, joined, wanted, pending: { lines, sent, firstN } };
  }
  restore({ pending, ...rest }) {
    Object.assign(this, rest, { seq: rest.joined, isReloaded: true });
    Object.assign(this.pending, pending);
    for (const line of pending.lines) line.isStale = !!line.request;
  }

  connected() {
    this.welcome = [];
    this.#past = [];
    this.isFreshDue = !!this.token;
    this.room.write(`/json\n${this.token ? `/resume ${this.token} ${this.seq}\n` : ''}`);
  }
  /** The connection is gone; `isOurDoing` if this page gave it up. */
  lost(isOurDoing) {
    if (this.isOpen && !isOurDoing) this.pending.lost();
    this.isOpen = this.isAsking = false;
  }

  say(text) {
    for (const line of text.split(/\r\n?|\n/).filter(line => line.trim())) {
      if (/^\/(json|resume)\b/i.test(line)) this.#tell('trouble', line, 'The page does that by itself.');
      else this.pending.say({ text: line, isAhead: /^\/nick\b/i.test(line) });
    }
    this.flush();
  }
  /** Asks for what the page needs; `request` says what for. */
  ask(text, request = {}) {
    this.pending.say({ text, request, isAhead: true });
    this.flush();
  }
  askOlder(seq) {
    if (!this.isOpen || this.isComplete || this.isAsking) return;
    this.isAsking = true;
    this.ask(`/last ${PAST_LINES} ${Math.max(0, seq)}`, { isOlder: true });
  }
  release() {
    this.gate = '';
    this.flush();
  }
  flush() {
    let text = '';
    for (let line; this.isOpen && (line = this.pending.next(this.gate));) text += `${line.text}\n`;
    // Saved as sent, a line is asked about after a loss.
    this.room.changed();
    if (text) this.room.write(text);
  }

  /** Takes a line of the room's. */
  take(line) {
    if (line.startsWith('!! ')) return this.room.refused(line.slice(3));
    if (!line.startsWith('{')) return this.welcome.push(line);
    const event = JSON.parse(line);
    const { kind, past, seq } = event;
    event.time = Date.parse(event.time);
    if (kind === 'hello') return this.#hello(event);
    if (kind === 'bye') return this.#bye(event);
    // What is said before the hello comes again.
    if (!this.isOpen || seq <= this.seq && !past) return;
    if (past) return this.#past.push(event);
    if (seq) Object.assign(this, { seq, time: event.time });
    this.#takes[kind]?.(event);
  }

  #takes = {
    message: event => this.#speech(event),
    action: event => this.#speech(event),
    private: event => this.#speech(event),
    operator: event => this.room.tell(event),
    notice: ({ text }) => this.#tell('note', text),
    wait: () => this.#tell('note', 'The room takes your lines slowly, for the moment.'),
    you: ({ name }) => this.#named(name),
    presence: event => {
      this.room.people.changed(event);
      const isUs = ([id]) => id === this.you;
      const us = event.renamed?.find(isUs);
      if (us) this.#named(us[2]);
      for (const kind of ['joined', 'left', 'renamed']) event[kind] = event[kind]?.filter(one => !isUs(one));
      this.room.tell(event);
    },
    reply: ({ n, to, name, here, people, text }) => {
      const request = this.#answered(n)?.request;
      if (to === 'last') return this.#tellPast(request);
      if (people) this.room.people.are(people, here);
      if (to === 'nick') {
        this.#named(name);
        // A name with a digit was not what its owner wanted.
        if (!request?.isName) this.room.wished(this.wanted = name);
        text = `You are ${name} now.`;
      } else if (people && !request) {
        text = `${here} here: ${people.map(one => one[1]).join(', ')}`;
      }
      if (text) this.#tell('note', text);
    },
    error: ({ n, code, text }) => {
      const { request, text: line = '' } = this.#answered(n) ?? {};
      if (!request) return this.#tell('trouble', line, text);
      if (request.isName && code.startsWith('name_') && this.digit < MAX_NAME_DIGIT) {
        return this.ask(`/nick ${this.wanted}${++this.digit}`, request);
      }
      if (request.isName) this.gate = this.pending.ofUser().length ? 'held' : '';
      if (request.isName || request.isWish) this.room.unnamed(line.slice(6), text);
      else this.#tellPast(request);
      this.flush();
    },
  };

  #tell(kind, text, words) {
    this.room.tell({ kind, text, words });
  }
  #speech(event) {
    event.isOwn = event.from === this.you;
    this.room.people.spoke(event);
    if (event.isOwn) this.#answered(event.n);
    this.room.tell(event);
  }
  #named(name) {
    this.name = name;
    this.room.named(name);
    this.release();
  }
  #answered(n) {
    this.#taken.delete(n);
    return n && this.pending.answered(n).pop();
  }

  #hello({ you, epoch, token, name, max_line: maxLine, people, here, resumed, seq, heard, lost }) {
    if (this.isOpen) return;
    if (this.isFreshDue && !resumed) return (this.isFreshDue = false);
    const known = this.epoch && !this.isReloaded && { epoch: this.epoch, seq: this.seq, time: this.time };
    const isFilled = this.isReloaded && !lost;
    if (resumed && lost && !this.isReloaded) this.#tell('gap', `${lost} events were missed.`);
    Object.assign(this, { you, epoch, token, name, maxLine, isOpen: true, gate: '', isReloaded: false });
    this.room.people.are(people, here);
    this.room.named(name);
    if (!resumed) return this.#begin(heard, seq, known);
    const { taken, suspect } = this.pending.resumed(heard);
    for (const line of taken) if (!line.request) this.#taken.set(line.n, line);
    if (suspect && !suspect.request) this.#tell('trouble', suspect.text, 'Not said: the connection broke twice with this on its way.');
    // The reply comes after all that was missed, and so after the answers that still come.
    this.ask(isFilled ? `/last ${PAST_LINES} ${this.joined}` : '/last 0', { isBarrier: true, isOlder: isFilled });
  }
  #begin(heard, seq, known) {
    for (const { text, request } of this.pending.begun(heard)) {
      if (!request) this.#tell('trouble', text, 'Not known whether the room has taken this.');
    }
    if (!known) this.#tellWelcome();
    this.seq = this.joined = seq;
    this.digit = 1;
    if (this.wanted) {
      this.gate = 'name';
      this.ask(`/nick ${this.wanted}`, { isName: true });
    }
    const missed = known?.epoch === this.epoch ? Math.min(MISSED_LINES, seq - known.seq) : MISSED_LINES;
    this.ask(`/last ${known ? missed : PAST_LINES} ${seq}`, { known, isOlder: !known, after: known && this.room.last() });
  }
  #bye({ n, code, heard, again, text }) {
    if (again === null) {
      this.token = undefined;
      if (this.isOpen) {
        this.#answered(n);
        this.pending.answered(heard);
        for (const { text } of this.pending.ofUser()) this.#tell('trouble', text, 'Not said.');
        this.pending = new Pending();
      }
    }
    this.room.ended(code, again, text);
  }

  /** The greeting's notices. The line after them introduces the past, which is asked for instead. */
  #tellWelcome() {
    const end = this.welcome.findIndex((line, nth) => nth && !/^-- (?!operator: )/.test(line));
    const lines = this.welcome.slice(1, end < 0 ? undefined : Math.max(1, end - 1));
    if (lines.length) this.#tell('note', lines.map(line => line.slice(3)).join('\n'));
  }
  /** What `request`, or the user, asked for of the past has come. */
  #tellPast(request) {
    let past = this.#past;
    this.#past = [];
    for (const event of past) event.isOwn = event.from === this.you;
    if (!request) return past.forEach(event => this.room.tell(event));
    const { isBarrier, isOlder, known, after } = request;
    for (const { text } of isBarrier ? this.#taken.values() : []) {
      this.#tell('trouble', text, 'The room has taken this; its answer was lost.');
    }
    if (isBarrier) this.#taken.clear();
    if (isOlder) {
      this.isAsking = false;
      this.isComplete = !past.length;
    } else if (known) {
      const news = past.filter(event => known.epoch === this.epoch ? event.seq > known.seq : event.time > known.time);
      // An event that was known shows that none is missing.
      const gap = { kind: 'gap', time: news[0]?.time, text: 'You were away: some lines may be missing here.' };
      past = news.length < past.length ? news : [gap, ...news];
    }
    this.room.insert(past, after);
  }
}

// ---- The log

/** Older ones are dropped, and asked for again. */
const MAX_ITEMS = 5000;
const MINUTE_MS = 60_000;
/** What one speaker says within this time stands under one name. */
const SAME_SPEAKER_MS = 5 * MINUTE_MS;

const dayOf = item => new Date(item.time).toDateString();
const minuteOf = item => Math.floor(item.time / MINUTE_MS);

/** What was said and what happened, in order; presence in a row is one item. */
export class Log {
  items = [];

  add(item) {
    item.time ||= Date.now();
    const last = this.items.at(-1);
    if (item.kind === 'presence') {
      if (!presence([item]).length) return;
      item.changes = [item];
      if (last?.changes && dayOf(last) === dayOf(item)) return last.changes.push(item);
    }
    this.items.push(item);
    if (this.items.length > MAX_ITEMS) this.items.splice(0, MAX_ITEMS / 10);
  }
  /** Inserts what was said before, behind `after` or at the beginning. */
  insert(items, after) {
    for (const item of items) item.time ||= Date.now();
    this.items.splice(this.items.indexOf(after) + 1, 0, ...items);
  }
}

/** How `item` stands under the one before it. */
export function standing(item, before) {
  const isNewDay = !before || dayOf(item) !== dayOf(before);
  const isMore = !isNewDay && item.kind === 'message' && before.kind === 'message' && !item.isUnread
    && before.name === item.name && before.from === item.from && item.time - before.time < SAME_SPEAKER_MS;
  return { isNewDay, isMore, isSame: isMore && minuteOf(item) === minuteOf(before) };
}

/** What `changes` come to: phrases of a list of names, words, and a further name. */
export function presence(changes) {
  const phrases = [];
  const net = new Map();
  const more = { left: 0, joined: 0, renamed: 0 };
  for (const change of changes) {
    for (const kind in more) more[kind] += change[`${kind}_count`] ?? 0;
    for (const [kind, by] of [['left', -1], ['joined', 1]]) {
      for (const [id, name] of change[kind] ?? []) net.set(id, { name, by: (net.get(id)?.by ?? 0) + by });
    }
    for (const [, from, to] of change.renamed ?? []) phrases.push([[from], 'is now', to]);
  }
  if (more.renamed) phrases.push([[], `${more.renamed} took names`]);
  for (const [kind, by] of [['came and went', 0], ['left', -1], ['joined', 1]]) {
    const names = [...net.values()].filter(one => one.by === by).map(one => one.name);
    const count = names.length + (more[kind] ?? 0);
    if (count) phrases.unshift(count === names.length && count <= 5 ? [names, kind] : [[], `${count} ${kind}`]);
  }
  return phrases;
}

// ---- The view

/** Elements in the log; lines beyond are made again when somebody scrolls to them. */
const MAX_NODES = 1000;
const AT_BOTTOM_PX = 24;

const $ = id => document.getElementById(id);
const [scroller, list, line, drawer] = ['scroller', 'log', 'line', 'people'].map($);
const log = new Log();
const nodes = new WeakMap();
/** The items that the list shows, whether it follows the log's end, and where it was last. */
let [from, to, isStuck, lastTop] = [0, 0, true, 0];

/** An element; what is said only ever becomes its text. */
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...children);
  return element;
}

function button(words, onclick) {
  return Object.assign(make('button', '', words), { onclick });
}

function nameOf(name, words = name) {
  const element = make('bdi', 'name', words);
  element.style.color = `var(--c${colorOf(name)})`;
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

/** What stands beside the time, by the kind of an item. */
const RENDER = {
  message: item => [make('div', 'who', whose(item)), said(item)],
  action: item => [textOf(whose(item), ' ', ...said(item).childNodes)],
  private: item => [make('div', 'who', whose(item), ' to ', item.isOwn ? nameOf(item.to) : 'you', ' alone'), said(item)],
  operator: item => [make('div', 'who', make('b', '', 'operator')), said(item)],
  presence: item => [textOf(...presence(item.changes).flatMap(phraseOf))],
  note: item => [textOf(item.text)],
  gap: item => [textOf(item.text)],
  trouble: item => [textOf(item.text), make('p', 'why', item.words, button('Edit', () => put(item.text)))],
};

function render(item, how) {
  const time = new Date(item.time);
  const node = make('div', `item ${item.kind}`);
  for (const name of ['isMore', 'isSame', 'isOwn']) node.classList.toggle(name, !!(how[name] ?? item[name]));
  if (how.isNewDay) node.append(make('div', 'day', time.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long' })));
  if (item.isUnread) node.append(make('div', 'day new', 'New'));
  const clock = make('time', '', time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }));
  clock.title = time.toLocaleString();
  node.append(clock, ...RENDER[item.kind](item));
  node.classList.toggle('mention', !item.isOwn && !!node.querySelector('mark'));
  return node;
}

/** The node of item `at`, made again if it stands otherwise than before. */
function nodeAt(at) {
  const item = log.items[at];
  const how = standing(item, log.items[at - 1]);
  const key = JSON.stringify([how, item.isUnread, item.changes?.length]);
  let node = nodes.get(item);
  if (node?.key !== key) {
    node = render(item, how);
    nodes.set(item, Object.assign(node, { item, key, weight: node.querySelectorAll('*').length + 1 }));
  }
  return node;
}

/** Where `most` elements end that begin at item `at`. */
function reach(at, step, most) {
  for (; step < 0 ? at > 0 : at < log.items.length; at += step) {
    most -= nodeAt(step < 0 ? at - 1 : at).weight;
    if (most < 0) break;
  }
  return at;
}

/** Shows the log around what is looked at, which stays where it is. */
function paint() {
  const topOf = element => element.getBoundingClientRect().top;
  const isSeen = node => node.getBoundingClientRect().bottom > topOf(scroller);
  const anchor = isStuck ? null : [...list.children].find(isSeen);
  const place = anchor && topOf(anchor);
  const at = anchor ? log.items.indexOf(anchor.item) : log.items.length;
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
  const hasMore = to < log.items.length;
  // A log that grows does not come loose from its end; who scrolls up does.
  if (below < AT_BOTTOM_PX) isStuck ||= !hasMore;
  else if (scrollTop < lastTop) isStuck = false;
  lastTop = scrollTop;
  const isNearTop = scrollTop < clientHeight;
  if (isNearTop ? from > 0 && !isStuck : hasMore && below < clientHeight) schedule();
  if (isNearTop && !from && list.ariaLive === 'polite') {
    session.askOlder((log.items.find(item => item.seq)?.seq ?? session.seq + 1) - 1);
  }
  look();
}

// ---- The shell: socket, storage, timers and controls

const HANDSHAKE_MS = 10_000;
/** A connection on which a line waits so long, and nothing comes, is given up. */
const QUIET_MS = 20_000;
/** A page that comes back gives its connection so long to answer. */
const PROBE_MS = 3_000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
const STABLE_MS = 10_000;
/** How long another tab has to claim a session. */
const CLAIM_MS = 200;
const MAX_ENTERED = 100;

/** A private window may have no storage; the page then forgets. */
function stored(storage, key, value) {
  try {
    if (value === undefined) return window[storage].getItem(key);
    window[storage].setItem(key, value);
  } catch {}
}

/** Who is here, as far as the room tells; the latest speaker last. */
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
    for (const [id, , name] of renamed) people.names.set(id, name);
    for (const [id, name] of joined) people.names.set(id, name);
    people.here = here;
    people.isStale ||= Object.keys(more).some(key => key.endsWith('_count'));
  },
};

let session, socket, phase, until, timer, watchdog, tick, frame, mark;
let [words, delay, unread] = ['', FIRST_DELAY_MS, 0];
/** Folded names, and the ids that had them. */
let ignored = new Map();
const isIgnored = ({ from, name = '', isOwn }) =>
  !isOwn && (ignored.has(fold(name)) || [...ignored.values()].includes(from ?? null));

/** What the session tells. */
const room = {
  people,
  last: () => log.items.at(-1),
  tell(item) {
    if (isIgnored(item)) return;
    const isNews = /^(message|action|private|operator)$/.test(item.kind) && !item.isOwn;
    if (isNews && list.ariaLive === 'polite' && (document.hidden || !isStuck) && !unread++) {
      unmark();
      mark = item;
      item.isUnread = true;
    }
    log.add(item);
    schedule();
  },
  /** A screen reader reads what is said from now on, not this. */
  insert(items, after) {
    list.ariaLive = 'off';
    log.insert(items.filter(item => !isIgnored(item)), after);
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
    $('wanted').value = name;
    $('refusal').textContent = why;
  },
  refused(why) {
    words = `Not let in: ${why}.`;
    if (/banned|nobody is let in/.test(why)) phase = 'ended';
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

/** Goes on at once where that may help: network or page are back. */
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

/** Tries again after a while; a half of that is random, so that not all come at once. */
function lost(isOurDoing) {
  watch(0);
  session.lost(isOurDoing);
  if (phase !== 'ended') {
    phase = 'offline';
    const wait = delay * (0.5 + Math.random() / 2);
    delay = Math.min(delay * 2, LONGEST_DELAY_MS);
    until = Date.now() + wait;
    timer = setTimeout(connect, wait);
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

/** Draws once what happens before the next frame. */
function schedule() {
  look();
  frame ??= requestAnimationFrame(draw);
}

function draw() {
  frame = undefined;
  $('oldest').textContent = session.isComplete ? 'The room remembers nothing older.' : '…';
  $('name').firstChild.textContent = session.name;
  $('here').lastElementChild.textContent = people.here;
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
  const waiting = session.pending.ofUser().length;
  let [told, rest, label, act] = [words, '', '', null];
  clearTimeout(tick);
  if (phase === 'ended') {
    label = 'Join again';
    act = () => {
      words = '';
      connect();
    };
  } else if (phase === 'offline') {
    told ||= waiting ? 'Offline. Your lines are kept.' : 'Offline.';
    rest = ` Next try in ${Math.max(0, Math.ceil((until - Date.now()) / 1000))} s.`;
    [label, act] = ['Try now', connect];
    tick = setTimeout(schedule, 1000);
  } else if (phase === 'connecting') {
    told ||= 'Connecting…';
  } else if (session.gate === 'held') {
    told = `${waiting} waiting, meant to be said under your name.`;
    [label, act] = [`Say as ${session.name}`, () => session.release()];
  }
  const [status, countdown, does] = $('status').children;
  $('status').hidden = !told;
  if (status.textContent !== told) status.textContent = told;
  countdown.textContent = rest;
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

// What the user types.

/** What was sent, for Up to bring back; and where that or a completion is. */
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
  const [, whom] = /^\/msg\s+(\S+)\s/i.exec(line.value) ?? [];
  $('composer').className = whom ? 'private' : '';
  $('hint').textContent = isLong ? `Too long: ${bytes} of ${session.maxLine} bytes` : whom ? `To ${whom} alone` : '';
  $('send').disabled = isLong || !line.value.trim();
}

function send(event) {
  event.preventDefault();
  if ($('send').disabled) return;
  const text = line.value;
  entered = [...entered.filter(other => other !== text), text].slice(-MAX_ENTERED);
  recalled = entered.length;
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
  const { key, shiftKey, isComposing, ctrlKey, altKey, metaKey } = event;
  if (isComposing || ctrlKey || altKey || metaKey) return;
  if (key === 'Tab') {
    if (complete(shiftKey ? -1 : 1)) event.preventDefault();
    return;
  }
  if (key !== 'Shift') completing = null;
  if (key === 'Enter' && !shiftKey) return send(event);
  const step = { ArrowUp: -1, ArrowDown: 1, PageUp: -0.9, PageDown: 0.9 }[key];
  if (!step || line.value.includes('\n')) return;
  event.preventDefault();
  const at = recalled + step;
  if (key.startsWith('Page')) scroller.scrollTop += step * scroller.clientHeight;
  else if (at >= 0 && at <= entered.length) put(entered[recalled = at] ?? '');
}

/** Whether another tab has the session of `token`: one that is duplicated copies it. */
const isHeldElsewhere = (channel, token) => new Promise(resolve => {
  setTimeout(resolve, CLAIM_MS, false);
  channel.onmessage = ({ data }) => resolve(data.held === token);
  channel.postMessage({ asked: token });
});

async function start() {
  const channel = new BroadcastChannel('chat');
  let saved = JSON.parse(stored('sessionStorage', 'session') || 'null');
  // A page that was left has given its session up.
  if (saved && !saved.isLeft && await isHeldElsewhere(channel, saved.session.token)) saved = null;
  const name = stored('localStorage', 'name');
  session = new Session(room, name);
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
  // The session was given up; another page of this tab may have gone on with it.
  onpageshow = ({ persisted }) => persisted && location.reload();
  // iOS lays its keyboard over the page instead of making it smaller.
  const { visualViewport: seen } = window;
  seen.onresize = seen.onscroll = () => {
    if (seen.scale !== 1) return;
    document.body.style.setProperty('--height', `${seen.height}px`);
    document.body.style.setProperty('--top', `${seen.offsetTop}px`);
  };
}

start();
