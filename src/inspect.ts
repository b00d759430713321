import { coverageOrWarning, webRunOrWarning } from './coverage-or-warning.js';
import { subgraphsOf } from './graph/attributes.js';
import type { Graph, ValueInfo } from './graph/model.js';
import { modelDigest, modelSize, readModel } from './onnx/read-model.js';
import type { IntegerReport } from './runtime/integer-report.js';
import { saturationProbeTask, type SaturationProbe } from './runtime/saturation-probe.js';
import { allNodes } from './graph/traversal.js';
import type { Warning } from './progress.js';
import { warn, withHost, type RuntimeOptions, type VerbOptions } from './verb-options.js';

/** Options of `inspect`. */
export interface InspectOptions extends VerbOptions, RuntimeOptions {
  /** Path of the model. */
  readonly model: string;
  /** Also find out whether u8 × s8 products are added exactly on this machine. */
  readonly probe?: boolean | undefined;
}

/** A value that a model takes or gives. */
export interface InspectedValue {
  readonly name: string;
  /** Element type of a tensor; the kind of value otherwise. */
  readonly type: string;
  /** null where the rank is not declared or the value is no tensor. */
  readonly shape: readonly (number | string | null)[] | null;
}

/** Constants of one element type. */
export interface TypeTotal {
  readonly count: number;
  readonly bytes: number;
}

/** What `inspect` returns, and prints with --json. */
export interface InspectResult {
  readonly schema: 'qdq.inspect/1';
  readonly model: {
    readonly path: string;
    readonly sizeBytes: number;
    readonly sha256: string;
    readonly irVersion: number;
    readonly opsets: Readonly<Record<string, number>>;
    readonly producer: string;
  };
  readonly inputs: readonly InspectedValue[];
  readonly outputs: readonly InspectedValue[];
  /** Nodes by operator type, those inside bodies included; operators outside the ONNX domain as domain.type. */
  readonly operators: Readonly<Record<string, number>>;
  readonly initializers: { readonly byType: Readonly<Record<string, TypeTotal>> };
  /** null where the runtime lacks an operator, or onnxruntime-web cannot run the model on random samples; a warning says so. */
  readonly integer: IntegerReport | null;
  /** With `probe`: what extreme u8 × s8 products come to on this machine; otherwise null. */
  readonly probe: SaturationProbe | null;
  readonly warnings: readonly Warning[];
}

/**
 * Describes a model: sizes, types, operators, and which of its compute nodes run in integer kernels on this runtime.
 *
 * @example
 * const { integer } = await inspect({ model: 'model.int8.onnx' });
 */
export async function inspect(options: InspectOptions): Promise<InspectResult> {
  return withHost(options, async (host, warnings) => {
    const model = await readModel(options.model);
    const { graph } = model;
    const report = (warning: Warning) => warn(options, warnings, warning);
    const looked = options.runtime === 'web' ? webRunOrWarning(host, options.model, options.threads ?? 0, report) : coverageOrWarning(host, options.model, report);
    // The digest is computed here while the child process looks at what the runtime makes of the file.
    const [sha256, integer] = await Promise.all([modelDigest(options.model, model), looked]);
    return {
      schema: 'qdq.inspect/1',
      model: {
        path: options.model,
        sizeBytes: modelSize(options.model, model),
        sha256,
        irVersion: model.irVersion,
        opsets: Object.fromEntries([...model.opsets].map(([domain, version]) => [domain || 'ai.onnx', version])),
        producer: model.producer,
      },
      inputs: graph.inputs.filter((value) => !graph.initializers.has(value.name)).map(describeValue),
      outputs: graph.outputs.map(describeValue),
      operators: countOperators(graph),
      initializers: { byType: sumInitializers(graph) },
      integer,
      probe: options.probe ? await host.run(saturationProbeTask, undefined) : null,
      warnings,
    };
  });
}

function describeValue({ name, type }: ValueInfo): InspectedValue {
  return type.kind === 'tensor' ? { name, type: type.dtype, shape: type.shape ?? null } : { name, type: type.kind, shape: null };
}

function countOperators(graph: Graph): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { domain, opType } of allNodes(graph)) {
    const name = domain ? `${domain}.${opType}` : opType;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)));
}

function sumInitializers(graph: Graph): Record<string, TypeTotal> {
  const totals = new Map<string, TypeTotal>();
  const add = ({ initializers }: Graph) => {
    for (const tensor of initializers.values()) {
      const { count, bytes } = totals.get(tensor.dtype) ?? { count: 0, bytes: 0 };
      totals.set(tensor.dtype, { count: count + 1, bytes: bytes + tensor.storage.byteLength });
    }
  };
  add(graph);
  for (const node of allNodes(graph)) subgraphsOf(node).forEach(add);
  return Object.fromEntries([...totals].sort(([, a], [, b]) => b.bytes - a.bytes));
}
