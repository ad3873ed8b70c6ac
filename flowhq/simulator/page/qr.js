'use strict';

__d('SimQr', [], (_global, _require, _default, _namespace, _lazy, module) => {
  module.exports.canvasOf = (_text) => document.createElement('canvas');
}, 66);
