/** Draws accounts, chats and bubbles; knows nothing of the network. */

const TICKS = { 1: '✓', 2: '✓✓', 3: '✓✓' };
const TICK_WORDS = { 1: 'sent', 2: 'delivered', 3: 'read' };

export const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** Replaces the children only when `key` is not what was drawn last: focus and scroll stay. */
export function draw(parent, key, make) {
  const text = JSON.stringify(key);
  if (parent.dataset.drawn !== text) {
    parent.dataset.drawn = text;
    parent.replaceChildren(...make());
    return true;
  }
  return false;
}

export function phoneText(phone) {
  return phone.includes('@') ? phone : `+${phone}`;
}

export function deviceText(account) {
  const online = account.devices.filter((device) => device.online).length;
  const queued = account.devices.reduce((sum, device) => sum + device.queued, 0);
  if (!account.devices.length) {
    return 'no linked device';
  }
  const waiting = queued ? `, ${queued} waiting` : '';
  return `${account.devices.length} linked, ${online} online${waiting}`;
}

function listButton(title, detail, current, onclick) {
  const button = element('button', { type: 'button', onclick },
    element('strong', { textContent: title }), element('small', { textContent: detail }));
  button.setAttribute('aria-current', String(current));
  return element('li', {}, button);
}

export function drawAccounts(accounts, selected, choose) {
  byId('no-accounts').hidden = accounts.length > 0;
  draw(byId('accounts'), [accounts, selected], () => accounts.map((account) =>
    listButton(account.name || phoneText(account.phone),
      `${phoneText(account.phone)} · ${deviceText(account)}`,
      account.phone === selected, () => choose(account.phone))));
  draw(byId('known-phones'), accounts.map(({ phone }) => phone), () =>
    accounts.map(({ phone }) => element('option', { value: phone })));
}

/** Pages keep their number while their codes change, so the choice stays. */
export function drawPages(refs) {
  byId('link-form').hidden = !refs.length;
  byId('no-pages').hidden = refs.length > 0;
  const fieldset = byId('pages');
  const chosen = Number(fieldset.querySelector('input:checked')?.value);
  const numbers = refs.map(({ page }) => page);
  draw(fieldset, numbers, () => [fieldset.querySelector('legend'), ...refs.map((ref) => {
    const checked = ref.page === (numbers.includes(chosen) ? chosen : numbers.at(-1));
    const input = element('input', { type: 'radio', name: 'page', value: ref.page, checked });
    return element('label', {}, input, `Page ${ref.page}`);
  })]);
}

export function drawChats(chats, selected, choose) {
  draw(byId('chats'), [chats, selected], () => chats.map((chat) => {
    const last = chat.messages.at(-1);
    const text = last ? last.text || `[${last.type}]` : '';
    return listButton(chat.name || phoneText(chat.with), chat.typing ? 'typing…' : text.slice(0, 120),
      chat.with === selected, () => choose(chat.with));
  }));
}

/** The text's nodes, with *bold* and _italic_ as a phone shows them; never markup of its own. */
function formatted(text) {
  const marked = /(?<![\p{L}\p{N}])([*_])(?=\S)([^*_\n]*[^*_\n\s])\1(?![\p{L}\p{N}])/gu;
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(marked)) {
    nodes.push(text.slice(end, match.index),
      element(match[1] === '*' ? 'strong' : 'em', { textContent: match[2] }));
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
}

function bubble(message) {
  const item = element('li', { className: `bubble ${message.by}` });
  if (message.by === 'owner') {
    item.append(element('span', { className: 'label', textContent: 'typed by the owner' }));
  }
  if (message.type !== 'chat') {
    item.append(element('span', { className: 'kind', textContent: `[${message.type}] ` }));
  }
  item.append(...formatted(message.text));
  const time = new Date(message.t * 1000);
  const meta = element('span', { className: 'meta' },
    time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }));
  if (message.by === 'customer') {
    meta.append(' ', element('span', {
      className: message.ack === 3 ? 'ticks read' : 'ticks',
      textContent: TICKS[message.ack],
      title: TICK_WORDS[message.ack],
    }));
  }
  item.append(meta);
  return item;
}

export function drawConversation(chat, name) {
  byId('composer').hidden = !chat;
  byId('chat-hint').hidden = Boolean(chat?.messages.length);
  byId('chat-hint').textContent = chat
    ? 'Nothing written yet.' : 'Choose an account and a customer.';
  byId('chat-name').textContent = name;
  byId('typing').textContent = { composing: 'typing…', recording: 'recording…' }[chat?.typing] ?? '';
  const list = byId('bubbles');
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const changed = draw(list, [chat?.with, chat?.messages], () => (chat?.messages ?? []).map(bubble));
  if (changed && atEnd) {
    list.scrollTop = list.scrollHeight;
  }
}

export function say(id, text, bad = false) {
  byId(id).textContent = text;
  byId(id).classList.toggle('bad', bad);
}
