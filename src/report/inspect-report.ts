import type { InspectedValue, InspectResult } from '../inspect.js';
import type { SaturationProbe } from '../runtime/saturation-probe.js';
import { facts, heading, paragraph, span, type Block, type Fact, type ReportDocument, type Text } from './document.js';
import { bytes, countOf, groupThousands, shape } from './format.js';
import { integerSection } from './integer-section.js';
import { warningsSection, type DescribeOptions } from './warnings-section.js';

/** What `qdq inspect` found, in words. */
export function describeInspect(result: InspectResult, options: DescribeOptions = { warnings: true }): ReportDocument {
  const { model, operators } = result;
  const opsets = Object.entries(model.opsets).map(([domain, version]) => `${domain} ${version}`);
  const nodes = Object.values(operators).reduce((sum, count) => sum + count, 0);
  return {
    title: model.path,
    blocks: [
      facts([
        ['size', `${bytes(model.sizeBytes)} (${groupThousands(model.sizeBytes)} bytes)`],
        ['SHA-256', model.sha256],
        ['made by', `${model.producer || 'unknown'}, IR version ${model.irVersion}, opset ${opsets.join(', ') || 'none'}`],
        ...result.inputs.map((value) => describeValue('input', value)),
        ...result.outputs.map((value) => describeValue('output', value)),
        result.probe && ['u8 × s8 here', describeProbe(result.probe)],
      ]),
      ...(result.integer ? integerSection(result.integer) : []),
      heading(`Operators (${countOf(nodes, 'node')})`),
      paragraph(Object.entries(operators).map(([name, count]) => `${name} ${count}`).join(', ') || 'none'),
      ...constantsSection(result),
      ...warningsSection(result.warnings, options),
    ],
  };
}

function describeValue(label: string, { name, type, shape: dims }: InspectedValue): Fact {
  return [label, `${name}: ${type} ${shape(dims)}`];
}

function describeProbe({ exact, expected, received }: SaturationProbe): Text {
  if (exact) return span('exact: products of u8 and s8 are added without saturating on this machine', 'good');
  return span(`saturates on this machine: expected ${groupThousands(expected)}, received ${groupThousands(received)}; quantize with --target ort-x64 for it`, 'warning');
}

function constantsSection({ initializers }: InspectResult): Block[] {
  const types = Object.entries(initializers.byType);
  if (types.length === 0) return [];
  const total = types.reduce((sum, [, type]) => sum + type.bytes, 0);
  return [
    heading('Constants'),
    {
      kind: 'table',
      columns: [{ title: 'type' }, { title: 'tensors', align: 'right' }, { title: 'size', align: 'right' }, { title: 'share' }],
      rows: types.map(([name, type]) => [name, groupThousands(type.count), bytes(type.bytes), { share: total > 0 ? type.bytes / total : 0 }]),
    },
  ];
}
