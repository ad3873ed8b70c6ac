/*
 * Functions that nothing in the simulated page needs, but that clients look up or wrap as they
 * start. Those that would encrypt, preview or upload refuse, because nothing here can.
 */
'use strict';

(() => {
  const none = () => null;
  const nothing = async () => {};
  const refuse = (name) => () => {
    throw new Error(`the simulated page cannot ${name}`);
  };

  const modules = {
    WAWebChatJids: { STATUS_JID: 'status@broadcast', GROUP_JID: 'g.us', CHAT_JID: 'c.us' },
    WAWap: { DROP_ATTR: Symbol('DROP_ATTR') },
    WAWebE2EProtoUtils: { typeAttributeFromProtobuf: () => 'text' },
    WAWebBackendJobsCommon: { mediaTypeFromProtobuf: none, encodeMaybeMediaType: none },
    WAWebE2EProtoGenerator: { createMsgProtobuf: (message) => ({ conversation: message.body }) },
    WAWebSendMsgJob: { encryptAndSendMsg: refuse('encrypt') },
    WAWebSendStatusMsgJob: { encryptAndSendStatusMsg: refuse('encrypt') },
    WAWebSendMsgCreateFanoutStanza: { createFanoutMsgStanza: refuse('encrypt') },
    WAWebProcessRawSticker: { processRawSticker: refuse('prepare stickers') },
    WAWebMediaMmsV4Upload: { uploadMedia: refuse('upload') },
    WAWebCreateChatRecord: { createChatRecord: nothing },
    WAWebMiscGating: { primaryFeatureEnabled: () => false },
    WAWebABProps: { getABPropConfigValue: none },
    WAWebMinimalLinkPreview: { genMinimalLinkPreview: nothing },
    WAWebFindFirstWebLink: { findFirstWebLink: (text) => /https?:\/\/\S+/.exec(text)?.[0] },
    WAWebMediaVideoThumbs: { generateVideoThumbsAndDuration: refuse('read videos') },
    WAWebPollsVotesSchema: { upsertVotes: nothing },
    WAWebLabelCollectionUtils: { addToLabelCollection: nothing, removeLabelFromCollection: nothing },
    WAWebGroupDBAction: { updateDBForGroupAction: nothing },
    WAWebPinUtils: { getNumChatsPinned: () => 0 },
    WAWebLid1X1Migration: {
      Lid1X1MigrationUtils: {
        isLidMigrated: () => true,
        isSyncdSessionMigrated: () => true,
        shouldApplyNonMigratedMessagingRules: () => false,
      },
    },
    WAWebInboxFilters: { isFilterExcludedFromSearchTreatmentInInboxFlow: () => false },
    WAWebIsOfficialClient: { isOfficialClient: true },
    WAWebEnvironment: { isWeb: true, isWindows: false },
    WAWebMd5: {
      md5: refuse('compute MD5'), md5ArrayBufferHex: refuse('compute MD5'),
    },
    WAWebHistorySyncProgress: {
      getHistorySyncProgressModel: () => ({ realProgress: 100, remainingPausedSeconds: 0 }),
    },
    WAWebServerProps: {
      ServerProps: { maxFileSize: 104857600, frequentlyForwardedMax: 5 },
      getMaxFilesSizeServerProp: () => 104857600,
    },
    WAWebDeprecatedStatusPrivacy: { getStatusList: async () => [] },
    WAWebReactionsQuery: { getReactions: async () => ({ reactions: [] }) },
  };

  for (const [name, members] of Object.entries(modules)) {
    __d(name, [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
      Object.assign(exports, members);
    }, 98);
  }

  __d('WAWebChatSearchQuery', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
    class SearchQuery {
      constructor() {
        this.filter = null;
      }

      updateLabelQuery(filter) {
        this.filter = filter;
      }
    }
    exports.SearchQuery = SearchQuery;
  }, 98);
})();
