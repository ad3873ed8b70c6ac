/*
 * Who we are and how the connection stands: the models that clients watch, the commands they give,
 * and the prefs behind the QR code. State changes come from the session; nothing here decides any.
 */
'use strict';

__d('SimState', [], (_global, _require, _default, _namespace, _lazy, module) => {
  // registration: the key material of this browser; pairing: null until the phone accepted it.
  module.exports = { registration: null, pairing: null };
}, 66);

__d('WAWebConnModel', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class ConnImpl extends BaseModel {}
  defineModel(ConnImpl, {
    proxyName: 'conn',
    props: [
      'ref', 'refTTL', 'connected', 'platform', 'pushname', 'wid', 'lid', 'battery', 'plugged',
      'phone', 'isSMB', 'smbTos', 'tos', 'blockStoreAdds', 'serverToken', 'clientToken',
    ],
    defaults: { connected: false, isSMB: false },
  });
  exports.ConnImpl = ConnImpl;
  exports.Conn = new ConnImpl();
}, 98);

__d('WAWebStreamModel', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class StreamImpl extends BaseModel {
    markAvailable() {
      this.set('available', true);
      require('SimSession').presence('available');
    }

    markUnavailable() {
      this.set('available', false);
      require('SimSession').presence('unavailable');
    }
  }
  defineModel(StreamImpl, {
    proxyName: 'stream',
    props: ['mode', 'info', 'available', 'displayInfo', 'needsUpdate', 'hardExpired', 'clientExpired'],
    defaults: { mode: 'SYNCING', info: 'OPENING', available: false, needsUpdate: false },
  });
  exports.Stream = new StreamImpl();
}, 98);

__d('WAWebSocketModel', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class SocketImpl extends BaseModel {
    initConn() {
      require('SimSession').connect();
    }

    logout() {
      return require('SimSession').logoutByPage();
    }

    takeover() {
      require('SimSession').takeover();
    }

    poke() {
      require('SimSession').connect();
    }

    reconnect() {
      require('SimSession').reconnect();
    }
  }
  defineModel(SocketImpl, {
    proxyName: 'socket',
    props: ['state', 'stream', 'hasSynced', 'canSend', 'launchGeneration', 'streamError', 'retryTimestamp'],
    defaults: { state: 'OPENING', stream: 'DISCONNECTED', hasSynced: false, canSend: false },
  });
  exports.Socket = new SocketImpl();
}, 98);

__d('WAWebCmd', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const EventEmitter = require('WAWebEventEmitter').default;

  class CmdImpl extends EventEmitter {
    constructor() {
      super();
      this.isMainLoaded = false;
    }

    onMainLoaded() {
      this.isMainLoaded = true;
      this.trigger('main_loaded');
    }

    refreshQR() {
      this.trigger('refresh_qr');
      require('SimSession').refreshRefs();
    }

    openChatBottom() {}

    upgradeToMDProd() {}

    downgradeWebclient() {}
  }
  exports.CmdImpl = CmdImpl;
  exports.Cmd = new CmdImpl();
}, 98);

__d('WAWebNetworkStatus', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class NetworkStatus extends BaseModel {
    initialize() {
      window.addEventListener('online', () => this.checkOnline());
      window.addEventListener('offline', () => this.checkOnline());
    }

    checkOnline() {
      this.set('online', navigator.onLine);
      return this.online;
    }
  }
  defineModel(NetworkStatus, {
    proxyName: 'network-status', props: ['online'], defaults: { online: navigator.onLine },
  });
  exports.default = new NetworkStatus();
}, 98);

__d('WAWebBackendEventBus', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const EventEmitter = require('WAWebEventEmitter').default;
  exports.BackendEvent = { LOGOUT: 'logout', OFFLINE_PROGRESS: 'offline_progress_update' };
  exports.BackendEventBus = new EventEmitter();
}, 98);

__d('WAWebUserPrefsMeUser', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { createUserWidOrThrow } = require('WAWebWidFactory');
  const state = require('SimState');

  const phoneWid = () => (state.pairing ? createUserWidOrThrow(state.pairing.phone, 'c.us') : undefined);
  const lidWid = () => (state.pairing ? createUserWidOrThrow(state.pairing.lid, 'lid') : undefined);

  function orThrow(get) {
    return () => {
      const wid = get();
      if (!wid) {
        throw new Error('no user is logged in');
      }
      return wid;
    };
  }
  Object.assign(exports, {
    getMaybeMePnUser: phoneWid,
    getMaybeMeLidUser: lidWid,
    getMePnUserOrThrow: orThrow(phoneWid),
    getMeLidUserOrThrow: orThrow(lidWid),
    getMe: phoneWid,
    getMaybeMeDevicePn: phoneWid,
    getMaybeMeDeviceLid: lidWid,
    isMeAccount: (wid) => Boolean(phoneWid()?.equals(wid) || lidWid()?.equals(wid)),
  });
}, 98);

__d('WAWebUserPrefsLoginState', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const state = require('SimState');
  exports.isLoggedIn = () => state.pairing !== null;
}, 98);

__d('WAWebUserPrefsRegistration', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const state = require('SimState');
  exports.isRegistered = () => state.pairing !== null;
}, 98);

__d('WAWebUserPrefsInfoStore', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const state = require('SimState');
  exports.waNoiseInfo = {
    get: async () => ({ staticKeyPair: { pubKey: state.registration.noise.buffer } }),
  };
}, 98);

__d('WAWebSignalStoreApi', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const state = require('SimState');
  exports.waSignalStore = {
    getRegistrationInfo: async () => ({
      identityKeyPair: { pubKey: state.registration.identity.buffer },
      registrationId: 1,
    }),
  };
}, 98);

__d('WAWebUserPrefsMultiDevice', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const state = require('SimState');
  exports.getADVSecretKey = () => state.registration.advSecret;
  exports.setADVSignedIdentity = () => {};
}, 98);

__d('WAWebUserPrefsGeneral', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  const prefs = { theme: 'light', photos: false, audio: false, videos: false, documents: false };
  const accessors = { Theme: 'theme', AutoDownloadPhotos: 'photos', AutoDownloadAudio: 'audio',
    AutoDownloadVideos: 'videos', AutoDownloadDocuments: 'documents' };
  for (const [name, key] of Object.entries(accessors)) {
    exports[`get${name}`] = () => prefs[key];
    exports[`set${name}`] = (value) => {
      prefs[key] = value;
    };
  }
}, 98);

__d('WAWebBrowserInfo', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  const info = { os: 'Linux', name: 'Chrome', version: null, ua: navigator.userAgent };
  exports.default = {
    id: () => 'simulated-browser',
    startDownloading: () => {},
    info: () => info,
    hardRefresh: () => location.reload(),
  };
}, 98);
