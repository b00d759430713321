import { askPeer, type Peer } from './peer.js';
import { messageOf } from '../../src/errors.js';
import type { JudgingData } from './judge.js';

/** Settings of the reference tool that calibrate. */
export const STATIC_SETTINGS = ['default', 'minmax', 'percentile', 'entropy', 'up-minmax', 'up-percentile', 'up-entropy'] as const;

export type ReferenceSetting = (typeof STATIC_SETTINGS)[number] | 'dynamic';

/** What the reference tool's setting means, for readers. */
export const SETTINGS_EXPLAINED =
  'Reference settings: default (its own: s8/s8 per tensor, min-max); minmax, percentile, entropy (u8 activations, s8 weights per channel, all operators); ' +
  '"up-" in front: operator set raised to 17 first, where it is below 13; dynamic (s8 weights per channel). The model is preprocessed first, as its documentation asks.';

/** What the reference tool made of a model, or why it failed. */
export type ReferenceRun = { readonly seconds: number; readonly note: string } | { readonly fail: string };

/** Quantizes with the reference tool. */
export async function runReference(peer: Peer, model: string, data: JudgingData, out: string, setting: ReferenceSetting): Promise<ReferenceRun> {
  const split = data.split ? ['--split', data.split] : [];
  try {
    const lines = await askPeer<ReferenceRun>(peer, 'reference.py', [model, data.folder, out, setting, ...split]);
    return lines.at(-1) ?? { fail: 'it printed nothing' };
  } catch (error) {
    return { fail: messageOf(error) };
  }
}
