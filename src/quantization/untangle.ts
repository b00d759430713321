import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import { ruleOf } from './operator-rules.js';
import type { PlannedNode, QuantizationPlan } from './plan.js';
import { usedTensors } from './repair.js';

const REASON = 'onnxruntime rearranges what is around it and would leave Q/DQ that convert for nothing';

/**
 * Sets of nodes, named, that may go back to float where the runtime leaves Q/DQ that convert for nothing beside the nodes `near`: the smallest
 * change first. None of them multiplies.
 *
 * The usual cause is a Transpose that several nodes read and of which one, behind further carriers, is a Transpose too: the runtime joins
 * the two across Q/DQ, and what it moved leaves a DequantizeLinear and a QuantizeLinear behind.
 * Source: fused graphs of onnxruntime 1.30; 1.32 leaves none of these behind.
 */
export function floatAlternatives(graph: Graph, plan: QuantizationPlan, near: ReadonlySet<string>): ReadonlySet<string>[] {
  const index = indexOf(graph);
  const planned = new Set(plan.nodes.flatMap(({ name, kernel }) => (kernel === undefined ? [] : [name])));
  const isPlannedCarrier = (node: Node) => planned.has(node.name) && ruleOf(node)?.kind === 'carrier';
  const region = new Set([...carriersAround(graph, index, near)].filter(isPlannedCarrier));
  const beside = graph.nodes.filter((node) => near.has(node.name) && planned.has(node.name) && ruleOf(node)?.kind !== 'compute');
  const choices = [
    betweenTransposes(index, region),
    new Set(beside.filter(isPlannedCarrier)),
    region,
    new Set(beside),
    new Set([...region, ...beside]),
  ];
  const seen = new Set<string>();
  return choices
    .map((nodes) => new Set(graph.nodes.flatMap((node) => (nodes.has(node) ? [node.name] : []))))
    .filter((names) => {
      const key = JSON.stringify([...names]);
      if (names.size === 0 || seen.has(key)) return false;
      seen.add(key);
      return true;
    });
}

/**
 * Plans with these nodes in float, the better one first. Products whose result no other planned node reads any more give floats, or keep Q
 * behind them, which some float readers need (see `isHidden` in select.ts).
 */
export function plansWithFloat(plan: QuantizationPlan, names: ReadonlySet<string>): readonly QuantizationPlan[] {
  const asFloat = ({ name, opType }: PlannedNode): PlannedNode => ({ name, opType, decision: 'float', reason: REASON });
  const left = plan.nodes.map((node) => (names.has(node.name) || (node.takenBy !== undefined && names.has(node.takenBy)) ? asFloat(node) : node));
  const withNodes = (nodes: readonly PlannedNode[]) => ({ ...plan, nodes, tensors: usedTensors(nodes, plan.tensors) });
  const released = withoutUnreadOutputs(left);
  return released === left ? [withNodes(left)] : [withNodes(released), withNodes(left)];
}

/** Products whose result no planned node reads give floats; a Relu or Clip that they took along is a node of its own again. */
function withoutUnreadOutputs(nodes: readonly PlannedNode[]): readonly PlannedNode[] {
  const read = new Set(nodes.flatMap(({ activations }) => Object.values(activations ?? {})));
  const released = new Set<string>();
  const changed = nodes.map((node): PlannedNode => {
    if (!node.outputs || !/^(MatMul|Gemm)$/.test(node.opType) || node.outputs.some((output) => read.has(output))) return node;
    released.add(node.name);
    const { outputs: _outputs, pairBefore: _pairBefore, ...product } = node;
    return product;
  });
  if (released.size === 0) return nodes;
  const bias = new Set(changed.flatMap(({ biasAdd }) => biasAdd?.name ?? []));
  return changed.map((node): PlannedNode => {
    if (node.takenBy === undefined || !released.has(node.takenBy) || bias.has(node.name)) return node;
    return { name: node.name, opType: node.opType, decision: 'float', reason: 'nothing that runs on integers reads it' };
  });
}

/** The carriers among the nodes, those that these feed or read, and so on. */
function carriersAround(graph: Graph, index: GraphIndex, near: ReadonlySet<string>): Set<Node> {
  const region = new Set<Node>();
  const neighbors = (node: Node) => [...node.outputs.flatMap((output) => index.uses(output).map((use) => use.node)), ...node.inputs.flatMap((input) => index.producer(input) ?? [])];
  const isCarrier = (node: Node) => ruleOf(node)?.kind === 'carrier';
  const start = graph.nodes.filter((node) => near.has(node.name));
  const pending = [...start, ...start.flatMap(neighbors)].filter(isCarrier);
  while (pending.length > 0) {
    const node = pending.pop()!;
    if (region.has(node)) continue;
    region.add(node);
    pending.push(...neighbors(node).filter(isCarrier));
  }
  return region;
}

/** The nodes on the ways from one Transpose to another, ends included. */
function betweenTransposes(index: GraphIndex, region: ReadonlySet<Node>): Set<Node> {
  const found = new Set<Node>();
  const walk = (node: Node, path: readonly Node[]): void => {
    for (const { node: reader } of node.outputs.flatMap((output) => index.uses(output))) {
      if (!region.has(reader)) continue;
      if (reader.opType === 'Transpose') [...path, reader].forEach((on) => found.add(on));
      else walk(reader, [...path, reader]);
    }
  };
  for (const node of region) if (node.opType === 'Transpose') walk(node, [node]);
  return found;
}
