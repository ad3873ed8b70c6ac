// What Python asks of the page: each takes one plain object and gives one, as JSON.

const HISTORY_LIMIT = 5000;
const ASK_MS = 5000;
// Enough that what is in memory is among it: only the page's database knows the order of messages
// of one second.
const READ_AT_LEAST = 50;

// The answers of what wa-js was given and has not finished, by id. For a while such a message stands
// in no store yet: who looks there alone would send it twice.
const underWay = new Map();

function send(given) {
  const known = underWay.get(given.id);
  if (known) return known;
  const answer = handOver(given);
  underWay.set(given.id, answer);
  return answer;
}

async function handOver({to, text: body, id, limit_ms: limitMs}) {
  let sending = Promise.resolve();
  try {
    if (!noteStore(stateNow())) return {outcome: 'not_sent', code: 'not_ready'};
    let chat;
    try {
      chat = await within(WPP.chat.find(to), limitMs);
    } catch (error) {
      return {outcome: 'not_sent', code: errorCode(error)};
    }
    const messageId = new WPP.whatsapp.MsgKey({fromMe: true, remote: chat.id, id});
    const before = attempt(() => WPP.whatsapp.MsgStore.get(messageId));
    // Asked twice, and WhatsApp has it already: the answer is the same, and nobody gets it twice.
    if (before && before.ack >= 1) return {outcome: 'answered', id, ack: before.ack, result: 'OK'};
    sending = WPP.chat.sendTextMessage(chat.id, body, {
      messageId,
      createChat: true,
      linkPreview: false,
      markIsRead: false,
      detectMentioned: false,
      waitForAck: true,
    });
    return await answerOf(sending, messageId, limitMs);
  } finally {
    const leave = () => underWay.delete(id);
    sending.then(leave, leave); // whatever we waited for: wa-js may go on for longer
  }
}

async function answerOf(sending, messageId, limitMs) {
  try {
    const sent = await within(sending, limitMs);
    const result = sent.sendMsgResult;
    return {
      outcome: 'answered',
      id: String(messageId.id),
      ack: number(sent.ack) ?? 0,
      result: typeof result === 'string' ? result : text(result && result.messageSendResult, 100),
    };
  } catch (error) {
    return {outcome: 'unknown', code: errorCode(error)};
  }
}

function errorCode(error) {
  return text((error && (error.code || error.message)) || String(error), 200);
}

// A LID and a phone number may be one chat: the id is looked for under both.
function jidsOf(chat) {
  const wid = attempt(() => WPP.whatsapp.WidFactory.createWid(chat));
  const cache = attempt(() => WPP.whatsapp.lidPnCache);
  if (!wid || !cache) return [chat];
  const other = serverOf(chat) === 'lid'
    ? attempt(() => cache.getPhoneNumber(wid))
    : attempt(() => cache.getCurrentLid(wid));
  return other ? [chat, jid(other)] : [chat];
}

// "Not there" makes the sender send again: what could not be read must fail, never be absent.
async function lookUp({chat, id}) {
  const isIt = (msg) => msg.id.fromMe && msg.id.id === id;
  const inMemory = attempt(() => WPP.whatsapp.MsgStore.getModelsArray().find(isIt));
  if (inMemory) return {ack: number(inMemory.ack) ?? 0};
  if (underWay.has(id)) return {ack: 0};
  for (const address of jidsOf(chat)) {
    const found = await within(findStored(address, id, isIt), ASK_MS);
    if (found) return {ack: number(found.ack) ?? 0};
  }
  return {ack: null};
}

async function findStored(address, id, isIt) {
  try {
    return await WPP.chat.getMessageById(`true_${address}_${id}`);
  } catch {
    // Not found, or this version of the page cannot be asked so: read the chat.
    return (await storedMessages(address, 100)).find(isIt);
  }
}

// The stored ones up to the last that was received, those after it, and those in memory.
async function storedMessages(address, wanted) {
  const chat = WPP.chat.get(address);
  if (!chat) return [];
  const count = Math.max(wanted, READ_AT_LEAST);
  const found = new Map();
  const take = (messages) => {
    for (const msg of messages) if (msg && msg.id) found.set(`${msg.id.fromMe}_${msg.id.id}`, msg);
  };
  take(await WPP.chat.getMessages(address, {count}));
  const last = chat.lastReceivedKey && String(chat.lastReceivedKey);
  if (last) take(await WPP.chat.getMessages(address, {count, direction: 'after', id: last}));
  take(attempt(() => chat.msgs.getModelsArray()) || []);
  return [...found.values()];
}

async function history({chat, since, limit}) {
  const count = Math.min(limit, HISTORY_LIMIT);
  const stored = await storedMessages(chat, count);
  const wanted = stored.filter((msg) => !dropReason(msg) && (since === null || timeOf(msg) >= since));
  wanted.sort((a, b) => timeOf(a) - timeOf(b)); // stable: equal times keep the page's order
  const phone = await phoneFor(chat);
  return {messages: wanted.slice(-count).map((msg) => compact(msg, phone))};
}

async function chats() {
  const all = await WPP.chat.list({ignoreGroupMetadata: true});
  const own = all.filter((chat) => ['c.us', 'lid'].includes(serverOf(jid(chat.id))));
  own.sort((a, b) => timeOf(b) - timeOf(a));
  const heads = own.map(async (chat) => ({
    chat: jid(chat.id),
    t: chat.t ? number(chat.t) ?? 'none' : null,
    phone: await phoneFor(jid(chat.id)),
  }));
  return {chats: await Promise.all(heads)};
}

async function markRead({chat}) {
  if (WPP.chat.get(chat)) await WPP.chat.markIsRead(chat);
  return {};
}

// The page's own call lasts as long as the typing: it is started, not waited for.
async function typing({chat, ms}) {
  if (WPP.chat.get(chat)) WPP.chat.markIsComposing(chat, ms).catch(() => undefined);
  return {};
}

async function logOut() {
  return {done: await WPP.conn.logout()};
}

async function health() {
  const state = stateNow();
  return {...state, usable: isUsable(state), told, drops, waiting: line.length};
}

const READS = new Set(['lookUp', 'history', 'chats']);
const CALLS = {send, lookUp, history, chats, markRead, typing, logOut, health};

// null: ask again later. Python may ask before it has heard of a new document.
async function answer(name, given) {
  if (!working || (READS.has(name) && !noteStore(stateNow()))) return null;
  try {
    return JSON.stringify(await CALLS[name](given));
  } catch (error) {
    return JSON.stringify({error: errorCode(error)});
  }
}

// Not enumerable and under a name of this start only: nothing for the page to stumble over.
Object.defineProperty(window, SETTINGS.handle, {value: answer});
