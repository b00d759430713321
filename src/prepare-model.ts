import { QdqError } from './errors.js';
import type { Graph, Model } from './graph/model.js';
import { closeInitializers } from './passes/close-initializers.js';
import { closeLoops } from './passes/close-loops.js';
import { foldConstants, foldingLimit } from './passes/fold-constants.js';
import { foldShapes } from './passes/fold-shapes.js';
import { foldPad } from './passes/fold-pad.js';
import { foldIntoConvolution } from './passes/fold-into-convolution.js';
import { foldIntoProduct } from './passes/fold-into-product.js';
import { fuseHardSigmoid } from './passes/fuse-hard-sigmoid.js';
import { inlineFunctions } from './passes/inline-functions.js';
import { liftConstants } from './passes/lift-constants.js';
import { nameNodes } from './passes/name-nodes.js';
import { normalizeGemm } from './passes/normalize-gemm.js';
import { flatModel, openBodies } from './passes/open-bodies.js';
import { orderNodes } from './passes/order-nodes.js';
import { runPasses, type Change, type Pass, type PassResult } from './passes/pass.js';
import { prune } from './passes/prune.js';
import { removeIdentity } from './passes/remove-identity.js';
import { shareConstants } from './passes/share-constants.js';
import { spellOutEinsum } from './passes/spell-out-einsum.js';
import { hasBranches, takeBranches } from './passes/take-branches.js';
import { upgradeTowards } from './passes/upgrade-opset.js';
import { removeIdleCasts, widenFloat16 } from './passes/widen-float16.js';
import type { ValueTypes } from './quantization/select.js';
import { constantEvaluator } from './runtime/evaluate-constants.js';
import type { RuntimeHost } from './runtime/host.js';
import { inferTypes } from './runtime/infer-types.js';
import { isComputeNode } from './runtime/kernels.js';

/** Operator set from which all that qdq writes has an integer kernel: MaxPool, ReduceMax and ReduceMin got theirs in it. */
const MIN_OPSET = 12;

/** A float model as it is calibrated and quantized. */
export interface PreparedModel {
  readonly model: Model;
  readonly types: ValueTypes;
  readonly changes: readonly Change[];
  /** The model after the operator set was raised and before arithmetic was folded; undefined where it was not raised. */
  readonly upgraded: Model | undefined;
}

const inlineComputing: Pass = (model) => inlineFunctions(model, isComputeNode);

/**
 * Cleans a float model so that weights are constants, convolutions carry their batch norms, and the operator set has what plans need. `kept` names
 * values that stay computed although they depend on constants only.
 */
export async function prepareModel(host: RuntimeHost, model: Model, externalDataFolder: string, kept?: (graph: Graph) => ReadonlySet<string>): Promise<PreparedModel> {
  const lifted = runPasses(model, [orderNodes, inlineComputing, closeLoops, liftConstants, (lifted) => upgradeTowards(lifted, MIN_OPSET), closeInitializers, removeIdentity]);
  const spelled = spellOutEinsum(lifted.model);
  const fold = (current: Model) => foldConstants(current, constantEvaluator(host, externalDataFolder), kept?.(current.graph), foldingLimit(lifted.model));
  const folded = await settleBranches(host, await fold(spelled.model), externalDataFolder, fold);
  const widened = widenFloat16(folded.model, isComputeNode);
  const cleaned = runPasses(widened.model, [prune, shareConstants, normalizeGemm, foldPad, foldIntoConvolution, foldIntoProduct, fuseHardSigmoid, prune, nameNodes]);
  const raised = lifted.model.opsets.get('') !== model.opsets.get('');
  const types = await inferTypes(host, cleaned.model, externalDataFolder);
  const settled = widened.model === folded.model ? { model: cleaned.model, changes: [] } : removeIdleCasts(cleaned.model, types);
  return {
    model: settled.model,
    types,
    changes: [...lifted.changes, ...spelled.changes, ...folded.changes, ...widened.changes, ...cleaned.changes, ...settled.changes],
    upgraded: raised ? lifted.model : undefined,
  };
}

/**
 * The same, with bodies that compute opened: what stands in them is planned for as the rest is (see passes/open-bodies.ts). They stay closed where
 * the runtime finds no types for all of them at once; branches are opened without the bodies of loops then, if that helps.
 */
export async function prepareOpened(host: RuntimeHost, model: Model, externalDataFolder: string): Promise<PreparedModel> {
  const prepared = await prepareModel(host, model, externalDataFolder);
  for (const operators of [['If', 'Loop', 'Scan'], ['If']] as const) {
    const opened = openBodies(prepared.model, isComputeNode, operators);
    if (opened === prepared.model) break;
    const model = nameNodes(opened).model;
    try {
      return { ...prepared, model, types: await inferTypes(host, flatModel(model), externalDataFolder) };
    } catch (error) {
      if (!(error instanceof QdqError && error.code === 'runtime-rejected')) throw error;
    }
  }
  return prepared;
}

/** Branches inside branches that are settled one after the other at most. */
const MAX_DEPTH = 8;

/**
 * Takes the branches of If nodes whose condition is constant, or follows from sizes that are the same for every input: exporters write a squeeze of
 * an open dimension as an If. Sizes are stored only where that settles a branch.
 */
async function settleBranches(host: RuntimeHost, start: PassResult, externalDataFolder: string, fold: (model: Model) => Promise<PassResult>): Promise<PassResult> {
  let { model } = start;
  const changes = [...start.changes];
  for (let depth = 0; depth < MAX_DEPTH && hasBranches(model); depth++) {
    const sized = foldShapes(model, await inferTypes(host, model, externalDataFolder));
    const folded = await fold(sized.model);
    const taken = runPasses(folded.model, [takeBranches, removeIdentity]);
    if (!taken.changes.some(({ pass }) => pass === 'take-branches')) break;
    model = prune(taken.model).model;
    changes.push(...sized.changes, ...folded.changes, ...taken.changes);
  }
  return { model, changes };
}
