/** Where `writeModel` puts weights; see `WriteOptions`. Apart from it, so that showing the choices loads no codec. */
export const EXTERNAL_DATA_MODES = ['auto', 'always', 'never'] as const;
export type ExternalDataMode = (typeof EXTERNAL_DATA_MODES)[number];
