import { arch } from 'node:os';
import type { QuantizedType } from '../tensor/affine.js';

/** A kind of machine that a model is quantized for. */
export interface Target {
  readonly name: TargetName;
  readonly activationType: QuantizedType;
  readonly weightType: QuantizedType;
  /** Weights keep to ±64 because u8 × s8 pairs are added in saturating 16 bits. */
  readonly reduceRange: boolean;
  readonly description: string;
}

/** The targets, one row each. Never chosen by the machine at hand, so that the same command gives the same bytes everywhere. */
export const TARGETS = {
  'ort-x64-vnni': { activationType: 'uint8', weightType: 'int8', reduceRange: false, description: 'x64 with VNNI or AMX: u8 activations, s8 weights' },
  'ort-x64': { activationType: 'uint8', weightType: 'int8', reduceRange: true, description: 'any x64: the same with weights in 7 bits, since u8×s8 saturates without VNNI' },
  'ort-arm64': { activationType: 'int8', weightType: 'int8', reduceRange: false, description: 'ARM64: s8 activations and weights' },
} as const satisfies Record<string, Omit<Target, 'name'>>;

export type TargetName = keyof typeof TARGETS;

/** The target that is meant where none is named. */
export const DEFAULT_TARGET: TargetName = 'ort-x64-vnni';

/** The table row of a target. */
export function targetOf(name: TargetName): Target {
  return { name, ...TARGETS[name] };
}

/** Whether this machine cannot run what a target runs. */
export function isForeignTarget(name: TargetName): boolean {
  return name === 'ort-arm64' && arch() !== 'arm64';
}
