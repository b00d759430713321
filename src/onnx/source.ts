import type { Origin } from '../graph/model.js';
import type { Message, MessageName } from './messages.js';

/**
 * What stands behind `origin`: the decoded message, and the object first made of it, against which encoding compares. Private
 * fields, so that printing or comparing graph objects does not walk into the wire format.
 */
export class Source<N extends MessageName, T extends object> {
  readonly #message: Message<N>;
  #decoded: T | undefined;

  private constructor(message: Message<N>) {
    this.#message = message;
  }

  /** The message that an object came from, with the object as decoded; `{}` and undefined where the object is new. */
  static of<N extends MessageName, T extends { readonly origin?: object }>(
    object: T,
  ): { message: Message<N>; decoded: T | undefined } {
    const { origin } = object;
    if (!(origin instanceof Source)) return { message: {}, decoded: undefined };
    const source = origin as Source<N, T>;
    return { message: source.#message, decoded: source.#decoded };
  }

  /** The object with an origin that leads back to its message. */
  static attach<N extends MessageName, T extends { readonly origin?: object }>(message: Message<N>, object: T): T {
    const source = new Source<N, T>(message);
    const decoded = { ...object, origin: source as object as Origin };
    source.#decoded = decoded;
    return decoded;
  }
}

/** `original`, the message's own form, where the value is as it was decoded (absent reads as ''); otherwise the value. */
export function keepText(value: string, decoded: string | undefined, original: string | undefined): string | undefined {
  return value === (decoded ?? '') ? original : value;
}

/** `original` where the list is as it was decoded (absent reads as empty), otherwise the list in its message form. */
export function keepScalars<V, W>(
  values: readonly V[],
  decoded: readonly V[] | undefined,
  original: readonly W[] | undefined,
  encode: (value: V) => W,
): readonly W[] | undefined {
  const before = decoded ?? [];
  const isSame = values.length === before.length && values.every((value, i) => Object.is(value, before[i]));
  return isSame ? original : values.map(encode);
}

/** The messages of objects: `original` itself where each object's message is the one it had. */
export function keepMessages<V, M>(
  values: Iterable<V>,
  decoded: Iterable<V> | undefined,
  original: readonly M[] | undefined,
  encode: (value: V, index: number) => M,
): readonly M[] | undefined {
  if (values === decoded) return original;
  const list = Array.from(values, encode);
  const isSame = list.length === (original?.length ?? 0) && list.every((message, i) => message === original?.[i]);
  return isSame ? original : list;
}

/**
 * Key–value messages (metadata, operator sets) with a map's values: entries stay in their place and keep what else they hold,
 * removed keys go, new keys follow at the end.
 */
export function keepEntries<V, M>(
  values: ReadonlyMap<string, V>,
  decoded: ReadonlyMap<string, V> | undefined,
  original: readonly M[] | undefined,
  keyOf: (entry: M) => string,
  encode: (entry: M | undefined, key: string, value: V) => M,
): readonly M[] | undefined {
  if (values === decoded) return original;
  const added = new Map(values);
  const list: M[] = [];
  for (const entry of original ?? []) {
    const key = keyOf(entry);
    const value = values.get(key);
    if (value === undefined) continue;
    list.push(value === decoded?.get(key) ? entry : encode(entry, key, value));
    added.delete(key);
  }
  for (const [key, value] of added) list.push(encode(undefined, key, value));
  return keepMessages(list, undefined, original, (entry) => entry);
}
