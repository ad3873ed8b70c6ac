/*
 * All collections under one roof, and the small modules that clients reach by their names.
 */
'use strict';

__d('WAWebBusinessProfileCollection', [], (
  _global, require, _default, _namespace, _lazy, _module, exports,
) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class BusinessProfile extends BaseModel {}
  defineModel(BusinessProfile, { proxyName: 'business-profile', props: ['id', 'profileOptions'] });

  class BusinessProfileCollection extends BaseCollection {
    static model = BusinessProfile;

    async fetchBizProfile(id) {
      return this.gadd({ id });
    }
  }
  exports.BusinessProfileCollection = new BusinessProfileCollection();
}, 98);

__d('WAWebProfilePicThumbCollection', [], (
  _global, require, _default, _namespace, _lazy, _module, exports,
) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class ProfilePicThumb extends BaseModel {}
  defineModel(ProfilePicThumb, { proxyName: 'profile-pic-thumb', props: ['id', 'img', 'imgFull', 'tag'] });

  class ProfilePicThumbCollection extends BaseCollection {
    static model = ProfilePicThumb;

    async find(id) {
      return this.gadd({ id });
    }
  }
  exports.ProfilePicThumbCollection = new ProfilePicThumbCollection();
}, 98);

__d('WAWebCollections', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  Object.assign(exports, {
    Msg: require('WAWebMsgCollection').MsgCollection,
    Chat: require('WAWebChatCollection').ChatCollection,
    Contact: require('WAWebContactCollection').ContactCollection,
    Blocklist: require('WAWebBlocklistCollection').BlocklistCollection,
    GroupMetadata: require('WAWebGroupMetadataCollection').default,
    BusinessProfile: require('WAWebBusinessProfileCollection').BusinessProfileCollection,
    ProfilePicThumb: require('WAWebProfilePicThumbCollection').ProfilePicThumbCollection,
    Status: require('WAWebStatusCollection').StatusCollection,
    Label: require('WAWebLabelCollection').LabelCollection,
    Reactions: require('WAWebReactionsCollection').ReactionsCollection,
    WAWebNewsletterCollection: require('WAWebNewsletterCollection').default,
  });
}, 98);

__d('WALinkify', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  const LINK = /(?:https?:\/\/|www\.)\S+/g;

  exports.findLinks = (text) => [...String(text ?? '').matchAll(LINK)].map(([found]) => ({
    href: found.startsWith('http') ? found : `http://${found}`,
    input: text,
    suspiciousCharacters: new Set(),
  }));
  exports.findLink = (text) => exports.findLinks(text)[0];
}, 98);

__d('WAWebLinkPreviewChatAction', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.getLinkPreview = async () => null;
}, 98);

__d('WAWebOfflineHandler', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.OfflineMessageHandler = { getOfflineDeliveryProgress: () => 100 };
}, 98);

__d('WAWebCompanionRegClientUtils', [], (
  _global, _require, _default, _namespace, _lazy, _module, exports,
) => {
  /** The code's fifth part: 1 is Chrome. */
  exports.DEVICE_PLATFORM = 1;
}, 98);

__d('WAWebAdvSignatureApi', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.verifyDeviceIdentityAccountSignature = () => true;
}, 98);

__d('WAWebAltDeviceLinkingApi', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  // Linking by a code typed into the phone is not simulated.
  const unsupported = async () => {
    throw new Error('the simulated page links by QR code only');
  };
  Object.assign(exports, {
    setPairingType: () => {},
    initializeQRLinking: async () => {},
    initializeAltDeviceLinking: unsupported,
    genLinkDeviceCodeForPhoneNumber: unsupported,
    startAltLinkingFlow: unsupported,
  });
}, 98);

__d('WAWebLaunchSocketUtils', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  exports.refreshQR = () => require('WAWebCmd').Cmd.refreshQR();
}, 98);

__d('WAWebMiscBrowserUtils', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  exports.info = () => require('WAWebBrowserInfo').default.info();
}, 98);

__d('WAWebSyncGatingUtils', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.isPlaceholderMessageResendEnabled = () => false;
}, 98);

__d('WAWebNonMessageDataRequestPlaceholderMessageResendUtils', [], (
  _global, _require, _default, _namespace, _lazy, _module, exports,
) => {
  exports.handlePlaceholderMsgsSeen = () => {};
}, 98);

__d('WAWebLidMigrationUtils', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { getPhoneNumber, getCurrentLid } = require('WAWebApiContact');
  exports.toPn = getPhoneNumber;
  exports.toLid = getCurrentLid;
}, 98);

__d('WAWebJidToWid', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { createWidOrThrow } = require('WAWebWidFactory');
  exports.userJidToUserWid = createWidOrThrow;
  exports.chatJidToChatWid = createWidOrThrow;
}, 98);

__d('WAWebFrontendVcardUtils', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  exports.vcardFromContactModel = (contact) => {
    const { getFormattedName } = require('WAWebFrontendContactGetters');
    const name = getFormattedName(contact);
    const { user } = contact.id;
    return {
      displayName: name,
      vcard: `BEGIN:VCARD\nVERSION:3.0\nFN:${name}\nTEL;type=CELL;waid=${user}:+${user}\nEND:VCARD`,
    };
  };
}, 98);
