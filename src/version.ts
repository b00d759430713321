import { createRequire } from 'node:module';

/** Version of qdq, from its package. */
export function qdqVersion(): string {
  const { version } = createRequire(import.meta.url)('qdq/package.json') as { version: string };
  return version;
}
