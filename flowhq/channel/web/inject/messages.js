// A message of the page's store as compact JSON. What is left out here never leaves the page:
// thumbnails, keys, and everything that is no message between two people.

const DROPPED_TYPES = new Set([
  'gp2', 'e2e_notification', 'notification', 'notification_template', 'group_notification',
  'broadcast_notification', 'call_log', 'protocol', 'revoked', 'reaction',
]);
const MEDIA_TYPES = new Set(['image', 'video', 'audio', 'ptt', 'document', 'sticker']);
const TEXT_LIMIT = 65536; // WhatsApp's own limit for one message
const CARD_LIMIT = 10;

const drops = {};
const phoneOfLid = new Map();

function countDrop(reason) {
  drops[reason] = (drops[reason] || 0) + 1;
}

// One half of a surrogate pair alone is no text that JSON readers or a database accept.
function text(value, limit = TEXT_LIMIT) {
  return typeof value === 'string' ? value.slice(0, limit).toWellFormed() : '';
}

function jid(wid) {
  if (wid === null || wid === undefined) return '';
  return typeof wid === 'string' ? wid : wid._serialized || String(wid);
}

function serverOf(address) {
  return address.slice(address.indexOf('@') + 1);
}

function userOf(address) {
  return address.slice(0, address.indexOf('@')).split(':')[0];
}

function chatOf(msg) {
  const remote = jid(msg.id && msg.id.remote);
  return remote || jid(msg.id && msg.id.fromMe ? msg.to : msg.from);
}

// Why a message is not for the bot; '' when it is.
function dropReason(msg) {
  const server = serverOf(chatOf(msg));
  if (server !== 'c.us' && server !== 'lid') return server === 'g.us' ? 'group' : server || 'no_chat';
  if (msg.type === 'ciphertext') return 'ciphertext'; // comes again, decrypted, under the same id
  return DROPPED_TYPES.has(msg.type) ? msg.type : '';
}

// Only what is worth keeping of each kind; undefined members vanish in JSON.
function contentOf(msg) {
  const content = {};
  if (msg.quotedStanzaID) content.quoted = text(msg.quotedStanzaID, 200);
  if (MEDIA_TYPES.has(msg.type)) Object.assign(content, mediaOf(msg));
  else if (msg.type === 'location') Object.assign(content, placeOf(msg));
  else if (msg.type === 'vcard' || msg.type === 'multi_vcard') Object.assign(content, cardsOf(msg));
  else if (msg.type === 'poll_creation') Object.assign(content, pollOf(msg));
  else if (msg.type === 'order' || msg.type === 'product') Object.assign(content, orderOf(msg));
  else if (msg.type !== 'chat') Object.assign(content, choiceOf(msg));
  return content;
}

function mediaOf(msg) {
  return {
    mimetype: text(msg.mimetype, 200),
    size: number(msg.size),
    filename: text(msg.filename, 500) || undefined,
    duration_s: number(msg.duration),
    width: number(msg.width),
    height: number(msg.height),
    voice: msg.type === 'ptt' || undefined,
    view_once: msg.isViewOnce || undefined,
  };
}

function placeOf(msg) {
  return {
    latitude: number(msg.lat),
    longitude: number(msg.lng),
    name: text(msg.loc, 1000) || undefined,
    live: msg.isLive || undefined,
  };
}

function cardsOf(msg) {
  const cards = Array.isArray(msg.vcardList) && msg.vcardList.length
    ? msg.vcardList
    : [{displayName: msg.vcardFormattedName, vcard: msg.body}];
  return {
    contacts: cards.slice(0, CARD_LIMIT).map((card) => ({
      name: text(card.displayName, 200),
      vcard: text(card.vcard, 4096),
    })),
  };
}

function pollOf(msg) {
  const options = Array.isArray(msg.pollOptions) ? msg.pollOptions : [];
  return {
    question: text(msg.pollName, 1000),
    options: options.slice(0, 20).map((option) => text(option && option.name, 200)),
  };
}

function orderOf(msg) {
  return {
    order_id: text(jid(msg.orderId), 200) || undefined,
    product_id: text(jid(msg.productId), 200) || undefined,
    title: text(msg.orderTitle || msg.title, 500) || undefined,
    items: number(msg.itemCount),
    amount_1000: number(msg.totalAmount1000 ?? msg.priceAmount1000),
    currency: text(msg.totalCurrencyCode || msg.currencyCode, 10) || undefined,
  };
}

function choiceOf(msg) {
  const row = msg.listResponse && msg.listResponse.singleSelectReply;
  return {
    selected_id: text(msg.selectedButtonId || msg.selectedId || (row && row.selectedRowId), 500) || undefined,
    title: text((msg.listResponse && msg.listResponse.title) || msg.title, 500) || undefined,
  };
}

function number(value) {
  const found = typeof value === 'string' && value !== '' ? Number(value) : value;
  return typeof found === 'number' && Number.isFinite(found) ? found : undefined;
}

// In seconds, of a message or of a chat: 0 if it has none that can be read.
const timeOf = (model) => number(model.t) || 0;

function compact(msg, phone) {
  const chat = chatOf(msg);
  const lid = serverOf(chat) === 'lid' ? userOf(chat) : '';
  return {
    id: String(msg.id.id),
    chat,
    me: Boolean(msg.id.fromMe),
    type: text(msg.type, 100),
    // A media message's body may be a thumbnail in base64.
    text: text(msg.type === 'chat' ? msg.body : MEDIA_TYPES.has(msg.type) ? msg.caption : ''),
    t: timeOf(msg),
    from: jid(msg.from),
    name: text(typeof msg.notifyName === 'string' ? msg.notifyName : '', 200),
    phone: lid ? phone : userOf(chat),
    lid,
    ack: number(msg.ack) ?? 0,
    c: contentOf(msg),
  };
}

// The digits behind a LID: a string when known at once, else a promise of one ('' if unknown).
function phoneFor(chat) {
  if (serverOf(chat) !== 'lid') return userOf(chat);
  const known = phoneOfLid.get(chat);
  return known === undefined ? askPhone(chat) : known;
}

async function askPhone(chat) {
  try {
    const entry = await within(WPP.contact.getPnLidEntry(chat), 2000);
    const phone = entry && entry.phoneNumber ? userOf(jid(entry.phoneNumber)) : '';
    if (phone) phoneOfLid.set(chat, phone); // an unknown one may become known later
    return phone;
  } catch {
    return '';
  }
}

function within(promise, ms) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}
