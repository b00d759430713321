import { intsAttribute, stringAttribute, withAttributes } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Node } from '../graph/model.js';
import { numbersOf } from '../tensor/values.js';
import { passResult, type Pass } from './pass.js';

/**
 * Lets convolutions pad by themselves what a Pad before them fills with zeros. The runtime does the same in float, but Pad has no integer kernel,
 * so that it would stand in float between integers.
 */
export const foldPad: Pass = (model) => {
  const index = indexOf(model.graph);
  const editor = new GraphEditor(model.graph);
  const folded: string[] = [];
  for (const pad of model.graph.nodes) {
    const zeros = zerosOf(index, pad);
    const uses = zeros ? index.uses(pad.outputs[0]!) : [];
    if (!zeros || uses.length === 0 || index.isOutput(pad.outputs[0]!) || !uses.every(({ node, input }) => input === 0 && padsItself(node))) continue;
    for (const { node } of uses) {
      const own = stringAttribute(node, 'auto_pad', 'NOTSET') === 'NOTSET' ? intsAttribute(node, 'pads') : undefined;
      const value = zeros.map((count, i) => count + (own?.[i] ?? 0));
      editor.replace(node, { ...withAttributes(node, { pads: { kind: 'ints', value }, auto_pad: undefined }), inputs: [pad.inputs[0]!, ...node.inputs.slice(1)] });
    }
    editor.replace(pad);
    folded.push(pad.name || pad.outputs[0]!);
  }
  if (folded.length === 0) return { model, changes: [] };
  return passResult(model, editor.finish(), [{ pass: 'fold-pad', names: folded, message: `${folded.length} Pad nodes became pads of the convolutions after them` }]);
};

/** Zeros that a Pad puts before and after each axis but the first two, as a convolution counts them; undefined where it does anything else. */
function zerosOf(index: GraphIndex, node: Node): number[] | undefined {
  if (node.opType !== 'Pad' || node.domain !== '' || stringAttribute(node, 'mode', 'constant') !== 'constant') return undefined;
  const [, counts, filling, axes] = node.inputs;
  const pads = index.constant(counts ?? '');
  const value = filling ? index.constant(filling) : undefined;
  if (!pads || axes || (filling && (!value || numbersOf(value).some((number) => number !== 0)))) return undefined;
  const all = Array.from(numbersOf(pads), Number);
  const rank = all.length / 2;
  const spatial = all.filter((_, i) => i % rank >= 2);
  const others = all.filter((_, i) => i % rank < 2);
  return rank > 2 && spatial.every((count) => count >= 0) && others.every((count) => count === 0) ? spatial : undefined;
}

function padsItself(node: Node): boolean {
  return node.opType === 'Conv' && node.domain === '' && ['NOTSET', 'VALID'].includes(stringAttribute(node, 'auto_pad', 'NOTSET'));
}
