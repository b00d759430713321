import assert from 'node:assert/strict';
import type { Model } from '../../src/graph/model.js';
import type { PassResult } from '../../src/passes/pass.js';
import { fuse } from '../helpers/fuse.js';
import { feedsFor, outputsOf, assertSameOutputs } from '../helpers/same-outputs.js';
import { isComputeOperator, isDequantize, isQuantize } from '../../src/runtime/kernels.js';

/** Asserts that a rewriting keeps what a model computes with Q/DQ as they are written, bit for bit unless a tolerance is given. */
export async function assertExact(before: Model, { model }: PassResult, tolerance = 0): Promise<void> {
  assert.notEqual(model, before, 'something was rewritten');
  for (const seed of [1, 7]) {
    const feeds = feedsFor(before, seed);
    assertSameOutputs(await outputsOf(model, feeds), await outputsOf(before, feeds), tolerance);
  }
}

/** The kernels of a model's compute nodes as the runtime fuses it, and how many Q and DQ nodes are left. */
export async function fusedKernels(model: Model): Promise<{ kernels: string[]; pairs: number }> {
  const { graph } = await fuse(model);
  const kernels = graph.nodes.map(({ opType }) => opType).filter(isComputeOperator).sort();
  return { kernels, pairs: graph.nodes.filter((node) => isQuantize(node) || isDequantize(node)).length };
}

/** Operators of a model's main graph, in order. */
export const operators = ({ graph }: Model) => graph.nodes.map(({ opType }) => opType);
