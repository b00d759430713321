import type { Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { passResult, type Pass } from './pass.js';

/** Gives a name of its own to each node of the main graph that has none or shares one, so that plans and reports can name it. */
export const nameNodes: Pass = (model) => {
  const names = new Names(model.graph);
  const seen = new Set(['']);
  const named: string[] = [];
  const nodes = model.graph.nodes.map((node): Node => {
    if (!seen.has(node.name)) {
      seen.add(node.name);
      return node;
    }
    const name = names.unique(node.name || `${node.opType}_${node.outputs.find(Boolean) ?? ''}`);
    seen.add(name);
    named.push(name);
    return { ...node, name };
  });
  if (named.length === 0) return { model, changes: [] };
  const message = `${named.length} nodes without a name of their own were given one`;
  return passResult(model, { ...model.graph, nodes }, [{ pass: 'name-nodes', names: named, message }]);
};
