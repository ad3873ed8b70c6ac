/** The phones of the simulator: links devices, and chats as any customer with any account. */

import { control, follow } from './api.js';
import {
  byId, deviceText, drawAccounts, drawChats, drawConversation, drawPages, phoneText, say,
} from './view.js';

const STATE_EVERY_MS = 3000;
const DRAW_AFTER_MS = 60;
const DROP_S = 10;
const STORE = 'simulated-customers';

const shown = { account: null, customer: null };
let accounts = [];
/** Name and LID of the customers that were typed in here, by number. */
const customers = new Map(Object.entries(readCustomers()));
/** Messages that can have no receipt any more: not asked again. */
const beyondReceipts = new Set();
let refreshTimer = null;
let refreshing = false;

function readCustomers() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    return {};
  }
}

function view(name) {
  document.body.dataset.view = name;
}

const isInChat = () => document.body.dataset.view === 'chat';

const digits = (text) => text.replace(/[^0-9]/g, '');

function chooseAccount(phone) {
  shown.account = phone;
  shown.customer = null;
  view('chats');
  refreshSoon();
}

function chooseChat(customer) {
  shown.customer = customer;
  view('chat');
  refreshSoon();
}

function refreshSoon() {
  refreshTimer ??= setTimeout(refresh, DRAW_AFTER_MS);
}

/** Draws everything from what the simulator says now; never two at once. */
async function refresh() {
  refreshTimer = null;
  if (refreshing) {
    refreshSoon();
    return;
  }
  refreshing = true;
  try {
    const asked = shown.account;
    const state = await control('state');
    accounts = state.accounts;
    // One that was chosen meanwhile may be newer than this state.
    if (shown.account === asked && !accounts.some(({ phone }) => phone === asked)) {
      shown.account = accounts.length === 1 ? accounts[0].phone : null;
      shown.customer = null;
    }
    drawPages(state.refs);
    drawAccounts(accounts, shown.account, chooseAccount);
    await refreshAccount();
  } catch (error) {
    say('link-state', error.message);
  } finally {
    refreshing = false;
  }
}

async function refreshAccount() {
  const phone = shown.account;
  const account = accounts.find((each) => each.phone === phone);
  byId('account-name').textContent = account ? account.name || phoneText(phone) : 'No account chosen';
  byId('account-state').textContent = account ? deviceText(account) : '';
  byId('new-chat').hidden = !account;
  byId('account-actions').hidden = !account;
  const { chats } = account ? await control('chats', { phone }) : { chats: [] };
  drawChats(chats, shown.customer, chooseChat);
  const customer = shown.customer;
  if (!customer) {
    drawConversation(null, '');
    return;
  }
  const chat = await control('chat', { phone, with: customer });
  const name = chat.name || customers.get(customer)?.name;
  drawConversation(chat, name ? `${name} · ${phoneText(customer)}` : phoneText(customer));
  await confirmReplies(phone, chat);
}

/** The customer looks at the chat: what the business wrote is delivered and read. */
async function confirmReplies(phone, chat) {
  const unread = chat.messages.filter(({ id, by, ack }) =>
    by === 'bot' && ack < 3 && !beyondReceipts.has(id));
  if (document.hidden) {
    return;
  }
  for (const { id, ack } of unread) {
    try {
      for (let next = ack + 1; next <= 3; next += 1) {
        await control('receipt', { phone, id, ack: next });
      }
    } catch {
      beyondReceipts.add(id);
    }
  }
}

/** Runs what a button or form asks for and says how it went. */
async function attempt(answerId, action) {
  try {
    say(answerId, (await action()) ?? '');
  } catch (error) {
    say(answerId, error.message, true);
  }
  refreshSoon();
}

byId('link-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const phone = digits(form.get('phone'));
  attempt('link-answer', async () => {
    const body = { phone, page: Number(form.get('page')) };
    const name = form.get('name').trim();
    await control('scan_live', name ? { ...body, name } : body);
    event.target.reset();
    // The account shows up before this answer: a chat that was opened in it stays open.
    if (shown.account !== phone || !isInChat()) chooseAccount(phone);
    return `Linked to ${phoneText(phone)}.`;
  });
});

byId('new-chat').addEventListener('submit', (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const customer = digits(form.get('customer'));
  if (customer.length < 5) {
    say('new-chat-answer', 'A number has at least 5 digits, country code first.', true);
    return;
  }
  say('new-chat-answer', '');
  customers.set(customer, { name: form.get('name').trim(), lid: digits(form.get('lid')) });
  localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(customers)));
  event.target.reset();
  chooseChat(customer);
  byId('composer').elements.text.focus();
});

function written(form) {
  const customer = shown.customer;
  const message = {
    phone: shown.account,
    text: form.get('text'),
    type: form.get('type'),
    from_me: form.get('owner') === 'on',
  };
  if (customer.includes('@')) {
    throw new Error('Groups can be read here, not written to: use the control API.');
  }
  const { name, lid } = customers.get(customer) ?? {};
  return { ...message, from: customer, ...(name && { name }), ...(lid && { lid }) };
}

byId('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const { text, type } = event.target.elements;
  if (!text.value.trim() && type.value === 'chat') {
    return;
  }
  text.value = '';
  type.value = 'chat';
  attempt('send-answer', async () => { await control('message', written(form)); });
});

byId('composer').elements.text.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId('composer').requestSubmit();
  }
});

for (const [id, call, body, done] of [
  ['unlink', 'logout', () => ({}), 'Its devices were unlinked.'],
  ['drop', 'drop', () => ({ seconds: DROP_S }), `Its network is gone for ${DROP_S} s.`],
  ['conflict', 'conflict', () => ({}), 'Its page was told that WhatsApp is open elsewhere.'],
  ['reload', 'reload', () => ({}), 'Its page reloads.'],
]) {
  byId(id).addEventListener('click', () => attempt('new-chat-answer', async () => {
    await control(call, { phone: shown.account, ...body() });
    return done;
  }));
}

byId('drop-all').addEventListener('click', () => attempt('link-answer', async () => {
  const { closed } = await control('drop', { seconds: DROP_S });
  return `${closed} pages lost their network for ${DROP_S} s.`;
}));

for (const button of document.querySelectorAll('[data-back]')) {
  button.addEventListener('click', () => view(button.dataset.back));
}

document.addEventListener('visibilitychange', refreshSoon);
// Codes expire and unlinked pages close without an event.
setInterval(() => document.hidden || refreshSoon(), STATE_EVERY_MS);
follow({
  onStart: refreshSoon,
  onEvents: refreshSoon,
  onLink: (up) => say('link-state', up ? '' : 'the simulator does not answer'),
});
