// What happens in the page, told once each: codes, states, messages, acks.

const BLOCKED_MODES = new Set(['TOS_BLOCK', 'SMB_TOS_BLOCK', 'PROXYBLOCK', 'DEPRECATED_VERSION']);
const WATCH_MS = 1000; // a safety net under the events, which name every change we know of
const OFFLINE_AT_START_MS = 10000; // the page may take that long to find its way when all is well
let told = ''; // the last state told: '', 'ready', 'lost', 'conflict', 'blocked', 'out'
let lastCode = '';
let codeShown = false; // a code was on show in this document and nobody has scanned it yet
let idleTold = false;
let logoutReason = '';
let tick = null;
let working = false; // wa-js has found its way in this document
let storeFilled = false; // the page has read its chats: before that, "not there" means nothing

function attempt(ask) {
  try {
    return ask();
  } catch {
    return undefined; // this part of the page is not there (yet)
  }
}

function stateNow() {
  const stream = attempt(() => WPP.conn.getStreamData()) || {};
  return {
    full: Boolean(WPP.isFullReady),
    mode: stream.mode || '',
    info: stream.info || '',
    socket: attempt(() => WPP.whatsapp.Socket.state) || '',
    authenticated: Boolean(attempt(() => WPP.conn.isAuthenticated())),
    online: attempt(() => WPP.conn.isOnline()) !== false,
  };
}

function isUsable(state) {
  return state.full && state.mode === 'MAIN' && state.authenticated && isConnected(state);
}

function isConnected(state) {
  return state.online
    && (state.info === '' || state.info === 'NORMAL')
    && (state.socket === '' || state.socket === 'CONNECTED');
}

// wa-js announces main_ready on the QR screen too, so that our own rule decides, one tick later.
function look() {
  if (told === 'out') return undefined; // what the page still says is about the link that is gone
  const state = stateNow();
  if (BLOCKED_MODES.has(state.mode)) return tellState('blocked', {k: 'blocked', mode: state.mode});
  if (state.mode === 'CONFLICT' || state.socket === 'CONFLICT') return tellState('conflict', {k: 'conflict'});
  noteStore(state);
  lookForPairing(state);
  if (isUsable(state)) return told === 'ready' ? undefined : soon();
  if (state.authenticated && (told === 'ready' || told === 'conflict' || startsOffline(state))) {
    tellState('lost', {k: 'lost', detail: `mode ${state.mode}, info ${state.info}, socket ${state.socket}`});
  }
  return undefined;
}

function noteStore(state) {
  storeFilled ||= state.full && state.mode === 'MAIN' && state.authenticated;
  return storeFilled;
}

// A linked page that opens and finds nobody there; not one that is still synchronising.
function startsOffline(state) {
  return told === '' && performance.now() > OFFLINE_AT_START_MS
    && (!state.online || ['OFFLINE', 'OPENING', 'CONNECTING'].includes(state.info));
}

function soon() {
  if (tick !== null) return;
  tick = setTimeout(() => {
    tick = null;
    if (told !== 'ready' && isUsable(stateNow())) tellReady();
  }, 0);
}

function tellReady() {
  codeShown = false;
  tellState('ready', {
    k: 'ready',
    phone: userOf(jid(attempt(() => WPP.conn.getMyUserId()))),
    lid: userOf(jid(attempt(() => WPP.conn.getMyUserLid()))),
  });
}

function tellState(name, event) {
  if (told === name) return;
  told = name;
  tell(event);
}

function lookForPairing(state) {
  const linking = state.authenticated || state.mode === 'SYNCING' || state.info === 'PAIRING';
  if (!codeShown || !linking) return;
  codeShown = false;
  tell({k: 'pairing'});
}

function onCode(code) {
  if (!code || !code.fullCode || code.fullCode === lastCode) {
    look();
    return;
  }
  lastCode = code.fullCode;
  codeShown = true;
  idleTold = false;
  told = '';
  tell({k: 'qr', text: code.fullCode});
}

function onIdle() {
  if (idleTold) return;
  idleTold = true;
  codeShown = false;
  lastCode = '';
  tell({k: 'idle'});
}

function onLogout() {
  if (told === 'out') return;
  tellState('out', {k: 'out', reason: text(logoutReason, 100)});
  flush(); // the page navigates away next
}

function onMessage(msg) {
  const reason = dropReason(msg);
  if (reason) return countDrop(reason);
  if (!hasRoom()) return undefined;
  const phone = phoneFor(chatOf(msg));
  if (typeof phone === 'string') return tell({k: 'msg', m: compact(msg, phone)});
  return tellWhenKnown(phone.then((found) => ({k: 'msg', m: compact(msg, found)})));
}

function onAck({ack, ids}) {
  const own = ids.filter((id) => id.fromMe).map((id) => String(id.id));
  if (own.length && hasRoom()) tell({k: 'ack', ack, ids: own});
}

function safely(handle) {
  return (...given) => {
    try {
      handle(...given);
    } catch (error) {
      countDrop('unreadable');
      console.warn('Flow HQ: an event could not be read', error);
    }
  };
}

function hook() {
  WPP.on('loader.ready', safely(() => {
    working = true;
    tell({k: 'loaded', page: text(attempt(() => window.Debug.VERSION), 100), wajs: text(WPP.version, 100)});
    attempt(() => WPP.whatsapp.Socket.on('change:state', safely(look)));
    look();
  }));
  for (const name of [
    'loader.full_ready', 'conn.authenticated', 'conn.main_ready', 'conn.main_loaded',
    'conn.stream_mode_changed', 'conn.stream_info_changed', 'conn.online', 'conn.require_auth',
  ]) WPP.on(name, safely(look));
  WPP.on('conn.auth_code_change', safely(onCode));
  WPP.on('conn.qrcode_idle', safely(onIdle));
  WPP.on('conn.logout_reason', safely((reason) => { logoutReason = String(reason); }));
  WPP.on('conn.logout', safely(onLogout));
  WPP.on('chat.new_message', safely(onMessage));
  WPP.on('chat.msg_ack_change', safely(onAck));
  setInterval(safely(look), WATCH_MS);
}

// Endless animations cost a tenth of a core for each tenant, and nobody looks at them.
function holdStill() {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync('*, *::before, *::after { animation: none !important; transition: none !important; }');
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}

tell({k: 'hello'});
attempt(holdStill);
hook();
