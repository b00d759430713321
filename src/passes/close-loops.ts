import { mapSubgraphs } from '../graph/attributes.js';
import { GraphEditor, renameInputs } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Attribute, Graph, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { passResult, type Pass } from './pass.js';

/**
 * Takes values out of the state of a Loop that its body hands on as they are: the body then reads them from outside, so that a weight among
 * them is seen to be constant. Exporters that write recurrent layers as loops carry all their weights along in this way.
 */
export const closeLoops: Pass = (model) => {
  const names = new Names(model.graph);
  const closed: string[] = [];
  const graph = closeIn(model.graph, names, closed);
  if (closed.length === 0) return { model, changes: [] };
  const message = `${closed.length} values that loops carry along unchanged are read from outside them`;
  return passResult(model, graph, [{ pass: 'close-loops', names: closed, message }]);
};

function closeIn(graph: Graph, names: Names, closed: string[]): Graph {
  const editor = new GraphEditor(graph, names);
  const { isOutput } = indexOf(graph);
  let edited = false;
  for (const original of graph.nodes) {
    const node = mapSubgraphs(original, (body) => closeIn(body, names, closed));
    const result = node.opType === 'Loop' && node.domain === '' ? closeLoop(node, isOutput) : undefined;
    if (node === original && !result) continue;
    edited = true;
    editor.replace(original, result?.node ?? node);
    for (const [from, to] of result?.passedOn ?? []) editor.renameUses(from, to);
    closed.push(...(result?.values ?? []));
  }
  return edited ? editor.finish() : graph;
}

interface ClosedLoop {
  readonly node: Node;
  /** Outputs of the loop, and the values that they are. */
  readonly passedOn: readonly (readonly [string, string])[];
  readonly values: readonly string[];
}

/** A Loop takes (trip count, condition, state …); its body takes (iteration, condition, state …) and gives (condition, state …, scans …). */
function closeLoop(node: Node, isOutput: (value: string) => boolean): ClosedLoop | undefined {
  const attribute = node.attributes.get('body');
  if (attribute?.kind !== 'graph') return undefined;
  const body = attribute.value;
  const outside = new Map<number, string>();
  const inside = new Map<string, string>();
  for (let i = 0; i + 2 < node.inputs.length && i + 2 < body.inputs.length; i++) {
    const [given, taken] = [node.inputs[i + 2]!, body.inputs[i + 2]!.name];
    const isKept = given !== '' && passedThrough(body, body.outputs[i + 1]?.name) === taken && !isOutput(node.outputs[i] ?? '');
    if (!isKept) continue;
    outside.set(i, given);
    inside.set(taken, given);
  }
  if (outside.size === 0) return undefined;
  const rename = (value: string) => inside.get(value) ?? value;
  const stays = (i: number) => !outside.has(i);
  const closedBody: Graph = {
    ...body,
    nodes: body.nodes.map((each) => renameInputs(each, rename)),
    inputs: body.inputs.filter((_, i) => stays(i - 2)),
    outputs: body.outputs.filter((_, i) => stays(i - 1)).map((output) => (inside.has(output.name) ? { ...output, name: rename(output.name) } : output)),
  };
  const value: Attribute = { ...attribute, value: withoutUnreadIdentities(closedBody) };
  return {
    node: { ...node, inputs: node.inputs.filter((_, i) => stays(i - 2)), outputs: node.outputs.filter((_, i) => stays(i)), attributes: new Map(node.attributes).set('body', value) },
    passedOn: [...outside].flatMap(([i, given]) => (node.outputs[i] ? [[node.outputs[i], given] as const] : [])),
    values: [...outside.values()],
  };
}

/** The value that a body's output is, seen through Identity nodes. */
function passedThrough(body: Graph, output: string | undefined): string | undefined {
  const index = indexOf(body);
  let value = output;
  for (let steps = 0; value && steps <= body.nodes.length; steps++) {
    const producer = index.producer(value);
    if (producer?.opType !== 'Identity' || producer.domain !== '') break;
    [value] = producer.inputs;
  }
  return value;
}

function withoutUnreadIdentities(body: Graph): Graph {
  const index = indexOf(body);
  return { ...body, nodes: body.nodes.filter((node) => node.opType !== 'Identity' || node.domain !== '' || node.outputs.some((output) => index.isRead(output))) };
}
