import type { Attribute, Graph, Node } from './model.js';

/** Integer attribute, or `fallback` where absent; values beyond 2^53 are clamped to it. */
export function intAttribute(node: Node, name: string, fallback: number): number {
  const attribute = node.attributes.get(name);
  return attribute?.kind === 'int' ? clampToSafe(attribute.value) : fallback;
}

/** Float attribute, or `fallback` where absent. */
export function floatAttribute(node: Node, name: string, fallback: number): number {
  const attribute = node.attributes.get(name);
  return attribute?.kind === 'float' ? attribute.value : fallback;
}

/** String attribute, or `fallback` where absent. */
export function stringAttribute(node: Node, name: string, fallback: string): string {
  const attribute = node.attributes.get(name);
  return attribute?.kind === 'string' ? attribute.value : fallback;
}

/** Integer list attribute, or undefined where absent; values beyond 2^53 are clamped to it. */
export function intsAttribute(node: Node, name: string): number[] | undefined {
  const attribute = node.attributes.get(name);
  return attribute?.kind === 'ints' ? attribute.value.map(clampToSafe) : undefined;
}

/** The node's attributes with some set (or removed, where undefined is given). */
export function withAttributes(node: Node, changes: Readonly<Record<string, Attribute | undefined>>): Node {
  const attributes = new Map(node.attributes);
  for (const [name, attribute] of Object.entries(changes)) {
    if (attribute) attributes.set(name, attribute);
    else attributes.delete(name);
  }
  return { ...node, attributes };
}

/** Bodies of a control-flow node (If, Loop, Scan and their like), in attribute order. */
export function subgraphsOf(node: Node): Graph[] {
  const found: Graph[] = [];
  for (const attribute of node.attributes.values()) {
    if (attribute.kind === 'graph') found.push(attribute.value);
    if (attribute.kind === 'graphs') found.push(...attribute.value);
  }
  return found;
}

/** The node with each body replaced by what `change` makes of it; the same node where nothing changed. */
export function mapSubgraphs(node: Node, change: (body: Graph) => Graph): Node {
  let attributes: Map<string, Attribute> | undefined;
  const set = (name: string, attribute: Attribute) => (attributes ??= new Map(node.attributes)).set(name, attribute);
  for (const [name, attribute] of node.attributes) {
    if (attribute.kind === 'graph') {
      const value = change(attribute.value);
      if (value !== attribute.value) set(name, { ...attribute, value });
    } else if (attribute.kind === 'graphs') {
      const value = attribute.value.map(change);
      if (value.some((body, i) => body !== attribute.value[i])) set(name, { ...attribute, value });
    }
  }
  return attributes ? { ...node, attributes } : node;
}

function clampToSafe(value: number | bigint): number {
  const limit = Number.MAX_SAFE_INTEGER;
  return Math.max(-limit, Math.min(limit, Number(value)));
}
