/** A source of repeatable choices. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed + 1, 2654435761) ^ 0x9e3779b9) >>> 0;
  }

  /** An integer from 0 to below − 1. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

/** Byte strings that parsers stumble over: extremes of varints, lengths and floats. */
const BAD_BYTES = ['00', 'ff', 'ffffffff0f', 'ffffffffffffffffff01', '80808080808080808001', '7fffffff', '00000080', '0000807f', '0000c07f', '504b0506', '504b0304', '934e554d5059'].map((hex) => Buffer.from(hex, 'hex'));

/** Texts that stand for numbers, names and lists elsewhere. */
const BAD_TEXTS = ['1e999', '-1', '99999999999999999999', 'null', '""', '[]', '{}', 'NaN', '0', '"../../../etc/passwd"', '"\\u0000"', 'true', '-0.0', '"__proto__"', '1e-320', '[[[[[[[[[[[[[[[['];

/** The bytes with one to four kinds of damage. */
export function damaged(bytes: Uint8Array, dice: Dice): Buffer {
  let result: Buffer = Buffer.from(bytes);
  for (let rounds = 1 + dice.below(4); rounds > 0; rounds--) result = damageOnce(result, dice);
  return result;
}

function damageOnce(bytes: Buffer, dice: Dice): Buffer {
  const at = dice.below(bytes.length + 1);
  const length = 1 + dice.below(16);
  switch (dice.below(7)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(dice.below(at + 1), at), bytes.subarray(at)]);
    case 3: {
      const bad = dice.pick(BAD_BYTES);
      return Buffer.concat([bytes.subarray(0, at), bad, bytes.subarray(at + bad.length)]);
    }
    case 4:
      return Buffer.concat([bytes.subarray(0, at), dice.pick(BAD_BYTES), bytes.subarray(at)]);
    default: {
      const copy = Buffer.from(bytes);
      if (at < copy.length) copy[at] = dice.below(2) ? copy[at]! ^ (1 << dice.below(8)) : dice.below(256);
      return copy;
    }
  }
}

/** A JSON text with values exchanged for ones that do not belong there, or with damaged bytes. */
export function damagedText(text: string, dice: Dice): Buffer {
  if (dice.below(4) === 0) return damaged(Buffer.from(text), dice);
  const values = [...text.matchAll(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|\[|\{|true|false|null/g)];
  let result = text;
  for (let rounds = 1 + dice.below(3); rounds > 0 && values.length > 0; rounds--) {
    const [value] = dice.pick(values);
    result = result.replace(value, dice.pick(BAD_TEXTS));
  }
  return Buffer.from(result);
}
