/*
 * Starts the page: profile first, then the modules, then the models' contents, then the socket.
 * Login questions are answered synchronously, so nothing may be asked before the profile is read.
 */
'use strict';

__d('SimBoot', [], (_global, require, _default, _namespace, _lazy, module) => {
  const assumptions = require('SimAssumptions');

  module.exports.start = async () => {
    if (assumptions.refuseHeadless && navigator.userAgent.includes('HeadlessChrome')) {
      require('SimUi').unsupported();
      return;
    }
    const store = require('SimStore');
    await store.open();
    await require('SimCredentials').load();
    await require('SimLoader').release({
      delayMs: assumptions.moduleDelayMs,
      drop: assumptions.dropModules,
    });
    await require('SimInbox').restore();
    require('SimUi').start();
    window.Debug = { VERSION: require('WAWebBuildConstants').VERSION_STR };
    require('WAWebSocketModel').Socket.initConn();
  };
}, 66);

require('SimBoot').start().catch((error) => {
  console.error('the simulated page did not start', error);
});
