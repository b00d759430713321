import type { Node } from '../graph/model.js';

/** Which nodes the user wants quantized. */
export interface NodeFilters {
  /** Globs of node names: only these are quantized. */
  readonly include?: readonly string[] | undefined;
  /** Globs of node names that stay in float. */
  readonly exclude?: readonly string[] | undefined;
  /** Operator types: only these are quantized. */
  readonly opTypes?: readonly string[] | undefined;
}

/** A function that says why the user keeps a node in float; undefined where it may be quantized. */
export function nodeFilter(filters: NodeFilters): (node: Node) => string | undefined {
  const included = filters.include?.map(globPattern);
  const excluded = filters.exclude?.map(globPattern) ?? [];
  const opTypes = filters.opTypes && new Set(filters.opTypes);
  return (node) => {
    const names = [node.name, ...node.outputs].filter(Boolean);
    if (excluded.some((pattern) => names.some((name) => pattern.test(name)))) return 'excluded by --exclude';
    if (included && !included.some((pattern) => names.some((name) => pattern.test(name)))) return 'not among --include';
    if (opTypes && !opTypes.has(node.opType)) return 'its operator is not among --op-types';
    return undefined;
  };
}

/** A glob over names that are no paths: * is any text, slashes too, and ? any one character. */
function globPattern(glob: string): RegExp {
  const escaped = glob.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.');
  return new RegExp(`^${escaped}$`, 's');
}
