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
    if (excluded.some((matches) => names.some((name) => matches(name)))) return 'excluded by --exclude';
    if (included && !included.some((matches) => names.some((name) => matches(name)))) return 'not among --include';
    if (opTypes && !opTypes.has(node.opType)) return 'its operator is not among --op-types';
    return undefined;
  };
}

/**
 * Whether names match a glob; they are no paths: * is any text, slashes too, and ? any one character. Matches in time of at most the product of both
 * lengths; a regular expression of many stars could take for ever.
 */
function globPattern(glob: string): (name: string) => boolean {
  return (name) => {
    let [inGlob, inName] = [0, 0];
    // Where the last star stands, and up to where it takes the name.
    let [star, taken] = [-1, 0];
    while (inName < name.length) {
      if (glob[inGlob] === '*') {
        [star, taken] = [inGlob++, inName];
      } else if (inGlob < glob.length && (glob[inGlob] === '?' || glob[inGlob] === name[inName])) {
        inGlob++;
        inName++;
      } else if (star >= 0) {
        inGlob = star + 1;
        inName = ++taken;
      } else {
        return false;
      }
    }
    while (glob[inGlob] === '*') inGlob++;
    return inGlob === glob.length;
  };
}
