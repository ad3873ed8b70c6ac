/*
 * Draws a QR code (ISO/IEC 18004): byte mode, error correction L, versions 1 to 20, mask 0.
 * `matrixOf` gives the modules as rows of booleans, `canvasOf` a canvas that shows them.
 */
'use strict';

__d('SimQr', [], (_global, _require, _default, _namespace, _lazy, module) => {
  // Per version from 1: error correction codewords of a block, and number of blocks, at level L.
  const ECC_PER_BLOCK = [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28];
  const BLOCKS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8];
  /** Level L (01) and mask 0 (000). */
  const FORMAT = 0b01000;
  const FORMAT_MASK = 0x5412;
  const PIXELS_PER_MODULE = 4;
  const QUIET_MODULES = 4;

  const sizeOf = (version) => 17 + 4 * version;

  function alignmentCentres(version) {
    if (version === 1) {
      return [];
    }
    const count = Math.floor(version / 7) + 2;
    const last = sizeOf(version) - 7;
    const step = Math.ceil((last - 6) / (count - 1) / 2) * 2;
    const centres = [6];
    for (let index = count - 2; index >= 0; index -= 1) {
      centres.push(last - index * step);
    }
    return centres;
  }

  function codewordsOf(version) {
    let bits = (16 * version + 128) * version + 64;
    if (version >= 2) {
      const count = Math.floor(version / 7) + 2;
      bits -= (25 * count - 10) * count - 55;
    }
    if (version >= 7) {
      bits -= 36;
    }
    return Math.floor(bits / 8);
  }

  const dataCodewordsOf = (version) => codewordsOf(version)
    - ECC_PER_BLOCK[version - 1] * BLOCKS[version - 1];
  const countBitsOf = (version) => (version < 10 ? 8 : 16);

  function versionFor(bytes) {
    for (let version = 1; version <= BLOCKS.length; version += 1) {
      if (4 + countBitsOf(version) + 8 * bytes.length <= 8 * dataCodewordsOf(version)) {
        return version;
      }
    }
    throw new RangeError(`${bytes.length} bytes do not fit into a code`);
  }

  /** Mode, length, bytes, terminator and padding, as codewords. */
  function dataCodewords(bytes, version) {
    const capacity = dataCodewordsOf(version);
    const bits = [];
    const push = (value, length) => {
      for (let shift = length - 1; shift >= 0; shift -= 1) {
        bits.push((value >> shift) & 1);
      }
    };
    push(0b0100, 4);
    push(bytes.length, countBitsOf(version));
    bytes.forEach((byte) => push(byte, 8));
    push(0, Math.min(4, 8 * capacity - bits.length));
    push(0, (8 - (bits.length % 8)) % 8);
    for (let pad = 0xec; bits.length < 8 * capacity; pad ^= 0xec ^ 0x11) {
      push(pad, 8);
    }
    return Array.from({ length: capacity }, (_, at) => bits
      .slice(8 * at, 8 * at + 8)
      .reduce((value, bit) => 2 * value + bit, 0));
  }

  /** Product in the field of 256 elements, modulo x^8 + x^4 + x^3 + x^2 + 1. */
  function multiply(left, right) {
    let product = 0;
    for (let shift = 7; shift >= 0; shift -= 1) {
      product = (product << 1) ^ ((product >>> 7) * 0x11d);
      product ^= ((right >>> shift) & 1) * left;
    }
    return product;
  }

  function generator(degree) {
    let polynomial = [1];
    for (let power = 0, root = 1; power < degree; power += 1, root = multiply(root, 2)) {
      const next = [...polynomial, 0];
      polynomial.forEach((coefficient, at) => {
        next[at + 1] ^= multiply(coefficient, root);
      });
      polynomial = next;
    }
    return polynomial.slice(1);
  }

  function remainder(data, divisor) {
    const rest = new Array(divisor.length).fill(0);
    for (const byte of data) {
      const factor = byte ^ rest.shift();
      rest.push(0);
      divisor.forEach((coefficient, at) => {
        rest[at] ^= multiply(coefficient, factor);
      });
    }
    return rest;
  }

  /** The codewords in the order in which they are drawn: column by column through the blocks. */
  function interleave(data, version) {
    const count = BLOCKS[version - 1];
    const divisor = generator(ECC_PER_BLOCK[version - 1]);
    const shortLength = Math.floor(data.length / count);
    const longFrom = count - (data.length % count);
    const blocks = [];
    for (let index = 0, at = 0; index < count; index += 1) {
      const length = shortLength + (index >= longFrom ? 1 : 0);
      const part = data.slice(at, at + length);
      blocks.push({ part, ecc: remainder(part, divisor) });
      at += length;
    }
    const drawn = [];
    for (let column = 0; column <= shortLength; column += 1) {
      blocks.filter(({ part }) => column < part.length).forEach(({ part }) => drawn.push(part[column]));
    }
    divisor.forEach((_, column) => blocks.forEach(({ ecc }) => drawn.push(ecc[column])));
    return drawn;
  }

  function withCheck(value, polynomial) {
    const degree = Math.floor(Math.log2(polynomial));
    let rest = value << degree;
    for (let bit = Math.floor(Math.log2(rest || 1)); bit >= degree; bit -= 1) {
      if ((rest >> bit) & 1) {
        rest ^= polynomial << (bit - degree);
      }
    }
    return (value << degree) | rest;
  }

  class Grid {
    constructor(version) {
      this.version = version;
      this.size = sizeOf(version);
      this.dark = Array.from({ length: this.size }, () => new Array(this.size).fill(false));
      this.fixed = Array.from({ length: this.size }, () => new Array(this.size).fill(false));
    }

    fix(row, column, dark) {
      if (row >= 0 && column >= 0 && row < this.size && column < this.size) {
        this.dark[row][column] = Boolean(dark);
        this.fixed[row][column] = true;
      }
    }

    /** A square of rings around a centre; `rings` lists which distances are dark. */
    square(row, column, reach, darkAt) {
      for (let dy = -reach; dy <= reach; dy += 1) {
        for (let dx = -reach; dx <= reach; dx += 1) {
          this.fix(row + dy, column + dx, darkAt.includes(Math.max(Math.abs(dy), Math.abs(dx))));
        }
      }
    }

    patterns() {
      const end = this.size - 1;
      for (let at = 0; at < this.size; at += 1) {
        this.fix(6, at, at % 2 === 0);
        this.fix(at, 6, at % 2 === 0);
      }
      [[3, 3], [3, end - 3], [end - 3, 3]].forEach(([row, column]) => {
        this.square(row, column, 4, [0, 1, 3]);
      });
      const centres = alignmentCentres(this.version);
      const corners = [[6, 6], [6, end - 6], [end - 6, 6]].map(String);
      for (const row of centres) {
        for (const column of centres) {
          if (!corners.includes(String([row, column]))) {
            this.square(row, column, 2, [0, 2]);
          }
        }
      }
    }

    format() {
      const bits = withCheck(FORMAT, 0x537) ^ FORMAT_MASK;
      const bit = (at) => (bits >> at) & 1;
      const end = this.size - 1;
      for (let at = 0; at < 15; at += 1) {
        const along = at < 6 ? at : at < 8 ? at + 1 : end - 14 + at;
        this.fix(along, 8, bit(at));
        const across = at < 8 ? end - at : at === 8 ? 7 : 14 - at;
        this.fix(8, across, bit(at));
      }
      this.fix(end - 7, 8, true);
    }

    versionInfo() {
      if (this.version < 7) {
        return;
      }
      const bits = withCheck(this.version, 0x1f25);
      for (let at = 0; at < 18; at += 1) {
        const near = Math.floor(at / 3);
        const far = this.size - 11 + (at % 3);
        this.fix(near, far, (bits >> at) & 1);
        this.fix(far, near, (bits >> at) & 1);
      }
    }

    /** Two columns at a time from the right, up and down in turn, around what is fixed. */
    fill(codewords) {
      let next = 0;
      let upwards = true;
      for (let right = this.size - 1; right > 0; right -= 2) {
        right -= right === 6 ? 1 : 0;
        for (let step = 0; step < this.size; step += 1) {
          const row = upwards ? this.size - 1 - step : step;
          for (const column of [right, right - 1]) {
            if (!this.fixed[row][column]) {
              const bit = (codewords[next >> 3] >> (7 - (next & 7))) & 1;
              this.dark[row][column] = Boolean(bit) !== ((row + column) % 2 === 0);
              next += 1;
            }
          }
        }
        upwards = !upwards;
      }
    }
  }

  function matrixOf(text) {
    const bytes = [...new TextEncoder().encode(text)];
    const version = versionFor(bytes);
    const grid = new Grid(version);
    grid.patterns();
    grid.format();
    grid.versionInfo();
    grid.fill(interleave(dataCodewords(bytes, version), version));
    return grid.dark;
  }

  function canvasOf(text) {
    const matrix = matrixOf(text);
    const canvas = document.createElement('canvas');
    canvas.width = (matrix.length + 2 * QUIET_MODULES) * PIXELS_PER_MODULE;
    canvas.height = canvas.width;
    canvas.setAttribute('aria-label', 'Scan this QR code to link a device!');
    canvas.setAttribute('role', 'img');
    const context = canvas.getContext('2d');
    context.fillStyle = '#fff';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = '#111b21';
    matrix.forEach((row, y) => row.forEach((dark, x) => {
      if (dark) {
        const [left, top] = [x, y].map((at) => (at + QUIET_MODULES) * PIXELS_PER_MODULE);
        context.fillRect(left, top, PIXELS_PER_MODULE, PIXELS_PER_MODULE);
      }
    }));
    return canvas;
  }

  module.exports = { matrixOf, canvasOf };
}, 66);
