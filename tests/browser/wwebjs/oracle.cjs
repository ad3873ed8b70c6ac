/*
 * Drives the unmodified whatsapp-web.js client through a whole life on the simulator and prints
 * what it saw, one JSON object a line. Judges nothing: the test that runs it does.
 *
 *   node oracle.cjs '{"modules": DIR, "control": URL, "tls": "HOST:PORT", "chromium": PATH,
 *                     "auth": DIR}'
 */
'use strict';

const { createRequire } = require('node:module');
const path = require('node:path');

const options = JSON.parse(process.argv[2]);
const { Client, LocalAuth } = createRequire(path.join(options.modules, 'package.json'))('whatsapp-web.js');

const LIMIT_MS = 60000;
const POLL_MS = 50;
const PHONE = '255700000001';
const ASHA = '255711111111';
const ASHA_CHAT = `${ASHA}@c.us`;
const GROUP = '120363000000000001@g.us';
const LID = '100200300400500';

function tell(step, facts = {}) {
  process.stdout.write(`${JSON.stringify({ step, ...facts })}\n`);
}

async function control(call, body = {}) {
  const response = await fetch(`${options.control}/control/${call}`, {
    method: 'POST', body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) {
    throw new Error(`${call}: ${JSON.stringify(answer)}`);
  }
  return answer;
}

const write = (text, more = {}) => control('message', { phone: PHONE, from: ASHA, text, ...more });

/** The first truthy result of `probe`; an error that names what was waited for. */
async function until(what, probe) {
  const deadline = Date.now() + LIMIT_MS;
  while (Date.now() < deadline) {
    const found = await probe();
    if (found) {
      return found;
    }
    await new Promise((done) => { setTimeout(done, POLL_MS); });
  }
  throw new Error(`waited ${LIMIT_MS} ms for ${what}`);
}

/** A client with a record of everything it emitted. */
function makeClient() {
  const client = new Client({
    authStrategy: new LocalAuth({ dataPath: options.auth }),
    webVersionCache: { type: 'none' },
    takeoverOnConflict: true,
    takeoverTimeoutMs: 100,
    puppeteer: {
      executablePath: options.chromium,
      headless: true,
      acceptInsecureCerts: true,
      args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--ignore-certificate-errors',
        `--host-resolver-rules=MAP web.whatsapp.com ${options.tls}`],
    },
  });
  const seen = [];
  const names = ['qr', 'authenticated', 'ready', 'message', 'message_create', 'message_ack',
    'message_ciphertext', 'message_reaction', 'message_revoke_everyone', 'change_state',
    'disconnected', 'auth_failure', 'unread_count'];
  for (const name of names) {
    client.on(name, (...args) => seen.push({ name, args }));
  }
  const all = (name) => seen.filter((event) => event.name === name).map((event) => event.args);
  const event = (name, accept = () => true) => until(name, () => all(name).find((args) => accept(...args)));
  return { client, all, event };
}

const brief = (message) => ({
  id: message.id._serialized,
  body: message.body,
  type: message.type,
  from: message.from,
  to: message.to,
  fromMe: message.fromMe,
  author: message.author ?? null,
  ack: message.ack,
});

async function link({ client, event }) {
  const [code] = await event('qr');
  tell('qr', { parts: code.split(',').length, broken: code.includes('null') });
  const scanned = await control('scan', {
    qr: code, phone: PHONE, name: 'Duka', contacts: [{ phone: ASHA, name: 'Asha Juma' }],
  });
  await event('ready');
  tell('ready', { scanned: scanned.ok, wid: client.info.wid._serialized, name: client.info.pushname });
}

async function talk({ client, all, event }) {
  await write('Habari', { name: 'Asha' });
  const [heard] = await event('message');
  const contact = await heard.getContact();
  const chat = await heard.getChat();
  tell('inbound', { ...brief(heard), contact: contact.name, chat: chat.name, unread: chat.unreadCount });

  const reply = await heard.reply('Karibu', undefined, { sendSeen: false });
  const { messages } = await control('outbox', { phone: PHONE, wait: 25 });
  tell('reply', { id: reply.id._serialized, outbox: messages.map(({ text, to, quoted }) => ({ text, to, quoted })) });

  for (const ack of [2, 3]) {
    await control('receipt', { phone: PHONE, id: reply.id.id, ack });
  }
  await event('message_ack', (_message, ack) => ack === 3);
  tell('acks', { acks: all('message_ack').map(([, ack]) => ack) });

  const marked = await chat.sendSeen();
  const { reads } = await control('reads', { phone: PHONE, wait: 25 });
  const after = await client.getChatById(ASHA_CHAT);
  tell('read', { marked, ids: reads.map(({ ids }) => ids), heard: heard.id.id, unread: after.unreadCount });
}

async function loseConnection({ client, all, event }) {
  await control('drop', { seconds: 600 });
  await event('change_state', (state) => state !== 'CONNECTED');
  const sent = await client.sendMessage(ASHA_CHAT, 'Bila mtandao', { sendSeen: false });
  tell('drop', { ack: sent.ack, states: all('change_state').map(([state]) => state) });
  await control('restore');
  await until('the connection', async () => (await client.getState()) === 'CONNECTED');
  await event('message_ack', (message, ack) => message.id._serialized === sent.id._serialized && ack === 1);
  await write('Umerudi?');
  await event('message', (message) => message.body === 'Umerudi?');
  const { messages } = await control('outbox', { phone: PHONE });
  tell('reconnect', { texts: messages.map(({ text }) => text), disconnected: all('disconnected').length });
}

async function meetConflict({ client, event }) {
  await control('conflict', { phone: PHONE });
  await event('change_state', (state) => state === 'CONFLICT');
  await until('the takeover', async () => (await client.getState()) === 'CONNECTED');
  await write('Baada ya mgongano');
  const [heard] = await event('message', (message) => message.body === 'Baada ya mgongano');
  tell('conflict', brief(heard));
}

async function meetOtherKinds({ client, all, event }) {
  await write('Siri', { type: 'ciphertext' });
  const [secret] = await event('message', (message) => message.body === 'Siri');
  tell('ciphertext', { ...brief(secret), before: all('message_ciphertext').map(([m]) => m.id._serialized) });

  const mistake = await write('Kosa');
  await event('message', (message) => message.body === 'Kosa');
  await write('', { type: 'revoked', extra: { revokes: mistake.id } });
  const [gone] = await event('message_revoke_everyone');
  tell('revoked', { id: gone.id.id, mistake: mistake.id, type: gone.type });

  await write('👍', { type: 'reaction', extra: { target: { id: secret.id.id, from_me: false } } });
  const [reaction] = await event('message_reaction');
  tell('reaction', { text: reaction.reaction, of: reaction.msgId._serialized, secret: secret.id._serialized });

  await write('Nimeandika simuni', { from_me: true });
  const [own] = await event('message_create', (message) => message.body === 'Nimeandika simuni');
  tell('from_phone', brief(own));

  await write('Hamjambo', { group: GROUP });
  const [shared] = await event('message', (message) => message.from === GROUP);
  const back = await client.sendMessage(GROUP, 'Hatujambo');
  tell('group', { ...brief(shared), isGroup: (await shared.getChat()).isGroup, back: back.to });

  await write('Kwa lid', { lid: LID });
  const [hidden] = await event('message', (message) => message.body === 'Kwa lid');
  const answer = await hidden.reply('Sawa');
  const messages = await until('the answer at the phone', async () => {
    const found = (await control('outbox', { phone: PHONE })).messages;
    return found.at(-1).text === 'Sawa' && found;
  });
  tell('lid', { ...brief(hidden), answered: answer.to, to: messages.at(-1).to });
}

async function restart(first) {
  await first.client.destroy();
  await write('Uko wapi?');
  const second = makeClient();
  await second.client.initialize();
  await second.event('ready');
  const chat = await second.client.getChatById(ASHA_CHAT);
  const past = await until('what came meanwhile', async () => {
    const found = await chat.fetchMessages({ limit: 100 });
    return found.at(-1)?.body === 'Uko wapi?' && found;
  });
  const found = await second.client.getMessageById(past[0].id._serialized);
  tell('restart', {
    codes: second.all('qr').length,
    unread: chat.unreadCount,
    bodies: past.map(({ body }) => body),
    found: found.body,
    chats: (await second.client.getChats()).map(({ id }) => id._serialized).sort(),
  });
  return second;
}

async function removeOnPhone({ all, event }) {
  const codes = all('qr').length;
  await control('logout', { phone: PHONE });
  const [reason] = await event('disconnected');
  const code = await until('a new code', () => all('qr')[codes]);
  tell('logout', { reason, parts: code[0].split(',').length });
}

async function logoutInPage(session) {
  const { client, all, event } = session;
  const [code] = all('qr').at(-1);
  await control('scan', { qr: code, phone: PHONE });
  await event('ready', () => all('ready').length === 2);
  await client.logout();
  await until('the end of the link', async () => (await control('state')).devices.length === 0);
  tell('logout_in_page', { devices: 0 });
}

async function main() {
  const first = makeClient();
  let last = first;
  try {
    await control('config', { qr_ttl: 600 });
    await first.client.initialize();
    await link(first);
    await talk(first);
    await loseConnection(first);
    await meetConflict(first);
    await meetOtherKinds(first);
    last = await restart(first);
    await removeOnPhone(last);
    await logoutInPage(last);
    tell('end');
  } finally {
    await last.client.destroy();
  }
}

main().catch((error) => {
  tell('failed', { error: error.stack || String(error) });
  process.exitCode = 1;
});
