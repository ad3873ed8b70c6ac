/*
 * The functions that compute what models once had as properties.
 */
'use strict';

__d('WAWebChatGetters', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  Object.assign(exports, {
    getHasUnread: (chat) => chat.unreadCount !== 0 || Boolean(chat.markedUnread),
    getIsUser: (chat) => chat.id.isUser(),
    getIsGroup: (chat) => chat.id.isGroup(),
    getIsBroadcast: (chat) => chat.id.isBroadcast(),
    getIsNewsletter: (chat) => chat.id.isNewsletter(),
    getIsPSA: (chat) => chat.id.isPSA(),
    getShouldAppearInList: (chat) => chat.t !== undefined,
    getPreviewMessage: (chat) => chat.msgs.last(),
    getShowChangeNumberNotification: () => false,
    getShouldShowUnreadDivider: (chat) => chat.unreadCount > 0,
    getShouldShowUnreadInTitle: (chat) => chat.unreadCount > 0,
    getCanUnread: () => true,
    getKind: (chat) => (chat.id.isGroup() ? 'group' : 'chat'),
  });
}, 98);

__d('WAWebContactGetters', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { isMeAccount } = require('WAWebUserPrefsMeUser');
  Object.assign(exports, {
    getNotifyName: (contact) => contact.pushname,
    getPremiumMessageName: () => undefined,
    getUserid: (contact) => contact.id.user,
    getIsMe: (contact) => isMeAccount(contact.id),
    getIsUser: (contact) => contact.id.isUser(),
    getIsGroup: (contact) => contact.id.isGroup(),
    getIsBroadcast: (contact) => contact.id.isBroadcast(),
    getIsNewsletter: (contact) => contact.id.isNewsletter(),
    getIsPSA: (contact) => contact.id.isPSA(),
    getIsIAS: () => false,
    getIsSupportAccount: () => false,
    getIsWAContact: (contact) => contact.id.isUser(),
    getIsBusiness: (contact) => contact.isBusiness,
    getIsEnterprise: (contact) => contact.isEnterprise,
    getCanRequestPhoneNumber: () => false,
    getShowBusinessCheckmarkAsPrimary: () => false,
    getShowBusinessCheckmarkAsSecondary: () => false,
    getShowBusinessCheckmarkInChatlist: () => false,
    getIsDisplayNameApproved: () => false,
    getShouldForceBusinessUpdate: () => false,
    getVerifiedName: (contact) => contact.verifiedName,
    getVerifiedLevel: (contact) => contact.verifiedLevel,
    getStatusMute: (contact) => contact.statusMute,
    getSectionHeader: (contact) => contact.sectionHeader,
    getLabels: (contact) => contact.labels,
    getPushname: (contact) => contact.pushname,
    getName: (contact) => contact.name,
    getShortName: (contact) => contact.shortName,
    getType: (contact) => contact.type,
  });
}, 98);

__d('WAWebFrontendContactGetters', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { lidPnCache } = require('WAWebLidPnCache');

  const phoneOf = (contact) => (contact.id.isLid()
    ? lidPnCache.getPhoneNumber(contact.id) || contact.phoneNumber : contact.id);
  const formattedPhone = (contact) => {
    const phone = phoneOf(contact);
    return phone?.isUser() ? `+${phone.user}` : '';
  };
  const nameOf = (contact) => contact.name || contact.pushname || contact.verifiedName
    || formattedPhone(contact) || contact.id.user;

  Object.assign(exports, {
    getPhoneNumber: phoneOf,
    getTextStatusString: () => '',
    getPnForLid: (contact) => (contact.id.isLid() ? phoneOf(contact) : undefined),
    getDisplayName: nameOf,
    getDisplayNameOrPnForLid: nameOf,
    getUserDisplayNameForLid: nameOf,
    getFormattedPhone: formattedPhone,
    getFormattedUsernameOrPhone: formattedPhone,
    getFormattedName: nameOf,
    getFormattedUser: formattedPhone,
    getFormattedShortName: (contact) => contact.shortName || nameOf(contact),
    getFormattedShortNameWithNonBreakingSpaces: (contact) => (contact.shortName || nameOf(contact))
      .replaceAll(' ', '\u00a0'),
    getSearchName: (contact) => nameOf(contact).toLowerCase(),
    getMentionName: (contact) => contact.shortName || nameOf(contact),
    getIsMyContact: (contact) => Boolean(contact.name),
    getHeader: (contact) => nameOf(contact)[0],
    getSearchVerifiedName: (contact) => contact.verifiedName?.toLowerCase(),
  });
}, 98);

__d('WAWebMsgUnreadType', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { SYSTEM_MESSAGE_TYPES } = require('WAWebMsgType');
  const uncounted = new Set([...SYSTEM_MESSAGE_TYPES, 'call_log', 'reaction', 'revoked']);
  exports.isUnreadTypeMsg = (message) => !uncounted.has(message.type);
}, 98);

__d('WAWebMsgGetters', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  Object.assign(exports, {
    getIsGroupMsg: (message) => message.id.remote.isGroup(),
    getSender: (message) => message.sender,
    getIsSentByMe: (message) => message.id.fromMe,
    getIsNewsletterMsg: (message) => message.id.remote.isNewsletter(),
    getIsStatus: (message) => message.isStatusV3,
  });
}, 98);

__d('WAWebQuotedMsgModelUtils', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const MsgKey = require('WAWebMsgKey');

  exports.getQuotedMsgObj = (message) => {
    const { MsgCollection } = require('WAWebMsgCollection');
    const { remote, participant } = message.id;
    return [true, false]
      .map((fromMe) => MsgCollection.get(
        new MsgKey({ fromMe, remote, id: message.quotedStanzaID, participant }),
      ))
      .find(Boolean);
  };
}, 98);

__d('WAWebMsgReply', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.canReplyMsg = (message) => message.canReply();
}, 98);
