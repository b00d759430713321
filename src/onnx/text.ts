import protobuf from 'protobufjs/light.js';

const LONE_LOW_SURROGATE = /(?<![\ud800-\udbff])[\udc80-\udcff]/;
const readText = protobuf.BufferReader.prototype.string;
const writePlainText = protobuf.BufferWriter.prototype.string;

/**
 * A replacement for the wire library's `Reader.string`: names that are not valid UTF-8 (some tools write GBK) would otherwise all
 * turn into the same U+FFFD. Each byte that is not UTF-8 becomes U+DC00 + byte, as Python's surrogateescape does.
 */
export function readLosslessText(this: protobuf.Reader): string {
  const start = this.pos;
  const text = readText.call(this);
  if (!text.includes('\ufffd')) return text;
  this.pos = start;
  const bytes = this.bytes();
  return Buffer.from(text).equals(bytes) ? text : escapeBytes(bytes);
}

/** The counterpart of `readLosslessText` for `Writer.string`. */
export function writeLosslessText(this: protobuf.Writer, text: string): protobuf.Writer {
  return LONE_LOW_SURROGATE.test(text) ? this.bytes(unescapeBytes(text)) : writePlainText.call(this, text);
}

function escapeBytes(bytes: Uint8Array): string {
  let text = '';
  for (let start = 0; start < bytes.length; ) {
    const length = [1, 2, 3, 4].find((n) => isCharacter(bytes.subarray(start, start + n), n));
    text += length ? Buffer.from(bytes.subarray(start, start + length)).toString() : String.fromCharCode(0xdc00 + bytes[start]!);
    start += length ?? 1;
  }
  return text;
}

function isCharacter(bytes: Uint8Array, length: number): boolean {
  const text = Buffer.from(bytes).toString();
  return bytes.length === length && [...text].length === 1 && Buffer.from(text).equals(bytes);
}

function unescapeBytes(text: string): Uint8Array {
  const parts = [...text].map((character) => {
    const code = character.codePointAt(0)!;
    return code >= 0xdc80 && code <= 0xdcff ? Buffer.of(code - 0xdc00) : Buffer.from(character);
  });
  return Buffer.concat(parts);
}
