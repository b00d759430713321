import type { FrozenValues } from './frozen-inputs.js';

/** How pictures become tensors: value = (pixel × scale − mean) / std, pixels 0…255, after resizing and then cropping. */
export interface ImageOptions {
  /** Width and height, or one number for the shorter edge (the other follows in proportion). */
  readonly resize?: number | ImageSize;
  /** Size cut from the center; black is added where the picture is smaller. */
  readonly crop?: number | ImageSize;
  /** Filter for resizing, as Pillow computes it. */
  readonly resample?: ResampleFilter;
  /** One value, or one for each channel. */
  readonly mean?: readonly number[];
  /** One value, or one for each channel. */
  readonly std?: readonly number[];
  readonly scale?: number;
  readonly layout?: 'nchw' | 'nhwc';
  readonly channels?: 'rgb' | 'bgr' | 'gray';
  /** Path of a Hugging Face `preprocessor_config.json`; the other fields override what it says. */
  readonly config?: string;
}

/** A size in pixels. */
export interface ImageSize {
  readonly width: number;
  readonly height: number;
}

/** Resampling filters by Pillow's names. */
export type ResampleFilter = 'nearest' | 'box' | 'bilinear' | 'hamming' | 'bicubic' | 'lanczos';

/** Which data to read and how. Plain data, so that it can be sent to another process, which does the reading. */
export interface DataSpec {
  /** Folders, files, reader modules, or `random:N`. */
  readonly paths: readonly string[];
  /** Arrays carry the samples along axis 0. */
  readonly stacked?: boolean;
  /** At most this many samples, evenly spaced over the sorted names (the first ones of a reader module). */
  readonly limit?: number;
  /** `even`, `odd` or `N%`; applied before `limit`. */
  readonly split?: string;
  /** Shapes by input name, for dimensions that the model leaves open. */
  readonly shapes?: Readonly<Record<string, readonly number[]>>;
  /** Values that all samples feed, by input name: samples that lack them are completed, and others are an error. */
  readonly frozen?: FrozenValues;
  readonly image?: ImageOptions;
}

/** Something about the data that its user should know, and what to do. */
export interface DataWarning {
  readonly code: 'random-data';
  readonly message: string;
  readonly advice: string;
}
