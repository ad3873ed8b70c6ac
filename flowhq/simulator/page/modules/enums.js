/*
 * The page's named constants.
 */
'use strict';

__d('WAWebBuildConstants', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { version } = require('SimAssumptions');
  const [primary, secondary, tertiary] = version.split('.');
  Object.assign(exports, {
    VERSION_STR: version,
    VERSION_BASE: version,
    SANITIZED_VERSION_STR: version,
    VERSION_PRIMARY: primary,
    VERSION_SECONDARY: secondary,
    VERSION_TERTIARY: tertiary,
    WINDOWS_BUILD: null,
  });
}, 98);

__d('WAWebAck', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.ACK = {
    MD_DOWNGRADE: -7,
    INACTIVE: -6,
    CONTENT_UNUPLOADABLE: -5,
    CONTENT_TOO_BIG: -4,
    CONTENT_GONE: -3,
    EXPIRED: -2,
    FAILED: -1,
    CLOCK: 0,
    SENT: 1,
    RECEIVED: 2,
    READ: 3,
    PLAYED: 4,
    PEER: 5,
  };
  exports.ACK_STRING = {
    SENDER: 'sender',
    DELIVERY: 'delivery',
    READ: 'read',
    PLAYED: 'played',
    INACTIVE: 'inactive',
    READ_SELF: 'read-self',
    PLAYED_SELF: 'played-self',
  };
  exports.EDIT_ATTR = { SENDER_REVOKE: 7, ADMIN_REVOKE: 8 };
}, 98);

__d('WAWebMsgType', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  const types = [
    'notification', 'notification_template', 'group_notification', 'gp2', 'broadcast_notification',
    'e2e_notification', 'call_log', 'protocol', 'chat', 'location', 'payment', 'vcard',
    'ciphertext', 'multi_vcard', 'revoked', 'oversized', 'groups_v4_invite', 'hsm',
    'template_button_reply', 'image', 'video', 'audio', 'ptt', 'sticker', 'document', 'product',
    'order', 'list', 'interactive', 'list_response', 'buttons_response', 'reaction',
    'poll_creation', 'poll_update', 'native_flow', 'unknown',
  ];
  exports.MSG_TYPE = Object.fromEntries(types.map((type) => [type.toUpperCase(), type]));
  exports.SYSTEM_MESSAGE_TYPES = [
    'notification', 'notification_template', 'group_notification', 'gp2',
    'broadcast_notification', 'e2e_notification', 'protocol',
  ];
}, 98);

__d('WAWebSocketConstants', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  const named = (...names) => Object.fromEntries(names.map((name) => [name, name]));
  exports.SOCKET_STATE = named(
    'OPENING', 'PAIRING', 'UNPAIRED', 'UNPAIRED_IDLE', 'CONNECTED', 'TIMEOUT', 'CONFLICT',
    'UNLAUNCHED', 'PROXYBLOCK', 'TOS_BLOCK', 'SMB_TOS_BLOCK', 'DEPRECATED_VERSION',
  );
  exports.SOCKET_STREAM = named('DISCONNECTED', 'SYNCING', 'RESUMING', 'CONNECTED');
  exports.WATCHED_SOCKET_STATE = named('OPEN', 'CLOSED');
}, 98);

__d('WAWebSendMsgResultAction', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.SendMsgResult = {
    OK: 'OK',
    ERROR_NETWORK: 'ERROR_NETWORK',
    ERROR_EXPIRED: 'ERROR_EXPIRED',
    ERROR_CANCELLED: 'ERROR_CANCELLED',
    ERROR_UPLOAD: 'ERROR_UPLOAD',
    ERROR_UNKNOWN: 'ERROR_UNKNOWN',
  };
}, 98);

__d('WAWebLogoutReasonConstants', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.LogoutReason = {
    UserInitiated: 'user_initiated',
    SyncdFailure: 'syncd_failure',
    InvalidAdvStatus: 'invalid_adv_status',
    UnknownCompanion: 'unknown_companion',
    ClientVersionOutdated: 'client_version_outdated',
    HistorySyncTimeout: 'history_sync_timeout',
    MDOptOut: 'md_opt_out',
    AccountLocked: 'account_locked',
    StorageQuotaExceeded: 'storage_quota_exceeded',
    PrimaryIdentityKeyChange: 'primary_identity_key_change',
  };
  exports.LOGOUT_REASON_CODE = {
    CLIENT_FATAL: '0',
    SYNC_FAIL: '1',
    INITIAL_HISTORY_SYNC_TIMEOUT: '2',
    ACCOUNT_LOCKED: '3',
  };
}, 98);

__d('WAWebLogoutReason', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { LogoutReason, LOGOUT_REASON_CODE } = require('WAWebLogoutReasonConstants');

  /** The code in the address after a logout; the page calls it through its exports. */
  exports.getErrorCodeFromLogoutReason = (reason) => {
    switch (reason) {
      case LogoutReason.SyncdFailure:
        return LOGOUT_REASON_CODE.SYNC_FAIL;
      case LogoutReason.HistorySyncTimeout:
        return LOGOUT_REASON_CODE.INITIAL_HISTORY_SYNC_TIMEOUT;
      case LogoutReason.AccountLocked:
        return LOGOUT_REASON_CODE.ACCOUNT_LOCKED;
      default:
        return LOGOUT_REASON_CODE.CLIENT_FATAL;
    }
  };
  let previousCode = null;
  let previousMessage = null;
  Object.assign(exports, {
    setPrevLogoutReasonCode: (code) => {
      previousCode = code;
    },
    getPrevLogoutReasonCode: () => previousCode,
    setPrevCustomLogoutMessage: (message) => {
      previousMessage = message;
    },
    getPrevCustomLogoutMessage: () => previousMessage,
  });
}, 98);

__d('WATimeUtils', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.unixTimeMs = () => Date.now();
  exports.unixTime = () => Math.floor(Date.now() / 1000);
}, 98);

__d('WABase64', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { encodeB64, decodeB64 } = require('SimBase64');
  Object.assign(exports, {
    encodeB64,
    encodeB64UrlSafe: (data) => encodeB64(data).replaceAll('+', '-').replaceAll('/', '_'),
    decodeB64,
  });
}, 98);
