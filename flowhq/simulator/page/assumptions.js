/*
 * Everything about the real page that is not known for certain, in one place.
 * Values that the control API can switch arrive in the settings block of index.html or in the
 * `config` frame; the others are constants with the reason for their value.
 */
'use strict';

__d('SimAssumptions', [], (_global, _require, _default, _namespace, _lazy, module) => {
  const settings = JSON.parse(document.getElementById('settings').textContent);

  module.exports = {
    // -- switchable ---------------------------------------------------------------------------
    /** Pause between CONNECTED and the end of the first synchronisation, ms. */
    syncDelayMs: settings.sync_delay_ms ?? 0,
    /** Time over which the modules arrive, ms. */
    moduleDelayMs: settings.module_delay_ms ?? 0,
    /** Whether the page answers a headless browser with "not supported". */
    refuseHeadless: Boolean(settings.refuse_headless),
    /** Newer builds keep a message key's text under a minified name instead of `_serialized`. */
    minifiedKey: Boolean(settings.minified_key),
    /** Whether the page loads itself anew once the pairing is stored. */
    reloadAfterPair: Boolean(settings.reload_after_pair),
    /** Modules that this build does not have. */
    dropModules: settings.drop_modules ?? [],

    // -- constants ----------------------------------------------------------------------------
    /**
     * Version in `Debug.VERSION`. From 2.3000.1031992593 on, sendSeen takes an object; from
     * 2.3000.1029594945 on, the calling conventions are those simulated here.
     */
    version: settings.version ?? '2.3000.1033456789',
    /**
     * Whether the last ref is taken away once the phone has accepted it. If it were,
     * whatsapp-web.js would report a broken code at every scan, and nobody sees that happen.
     */
    clearRefWhenPaired: false,
    /**
     * On a restored session `hasSynced` turns true this long after CONNECTED, ms. whatsapp-web.js
     * hears `ready` only if the change comes after it has hooked, so the real page cannot be
     * much faster than this.
     */
    restoredSyncMs: 1200,
    /** Socket state while a lost connection is being rebuilt. TIMEOUT follows after this, ms. */
    timeoutAfterMs: 15000,
    /** Time a message stays undecrypted when it arrives as ciphertext, ms. */
    decryptMs: 400,
    /** Messages a chat holds in memory after a start; older ones are in the database only. */
    recentMessages: 30,
    /** Reconnect pauses, ms: first, factor, longest; each drawn evenly from zero up. */
    reconnect: { firstMs: 500, factor: 2, longestMs: 8000 },
    /** Heartbeat: one ping per period, this many may go unanswered. */
    heartbeat: { periodMs: 10000, misses: 3 },
    /** Mode stays MAIN while a synced page is without connection; only the info changes. */
    modeWhileReconnecting: 'MAIN',
    /** Time between the logout and the navigation to the new code, ms. */
    logoutPauseMs: 300,
  };
}, 66);
