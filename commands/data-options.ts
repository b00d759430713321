import { Option, type Command } from 'commander';
import type { ImageSize, ResampleFilter } from '../src/data/data-spec.js';
import type { DataOptions } from '../src/verb-options.js';
import { definedFields, fraction, imageSize, numberList, positiveInteger, RepeatableOption, shapes } from './options.js';

/** The data options as parsed. */
export interface DataFlags {
  readonly data?: string[];
  readonly stacked?: boolean;
  readonly limit?: number;
  readonly split?: string;
  readonly shape?: Record<string, readonly number[]>;
  readonly resize?: number | ImageSize;
  readonly crop?: number | ImageSize;
  readonly resample?: ResampleFilter;
  readonly mean?: number[];
  readonly std?: number[];
  readonly scale?: number;
  readonly layout?: 'nchw' | 'nhwc';
  readonly channels?: 'rgb' | 'bgr' | 'gray';
  readonly preprocessor?: string;
}

const RESAMPLE_FILTERS = ['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos'] as const satisfies readonly ResampleFilter[];

/** The options of every command that takes samples. */
export function addDataOptions(command: Command): void {
  command
    .optionsGroup('Samples:')
    .option('--data <path...>', 'folders and files: .npz, .npy, images, ONNX test sets, a reader module (.mjs), or random:N')
    .option('--stacked', 'arrays carry the samples along axis 0')
    .addOption(new Option('--limit <n>', 'at most this many samples, evenly spaced (default: all)').argParser(positiveInteger))
    .option('--split <part>', 'which samples by sorted name: even, odd, or N% (default: all)')
    .addOption(new RepeatableOption('--shape <name=dims>', 'shape of an input, as in image=1,3,224,224, for open dimensions; repeatable').argParser(shapes))
    .optionsGroup('Images (default: as a preprocessor_config.json beside the data says):')
    .addOption(new Option('--resize <size>', 'width and height, as in 224x192, or the shorter edge (default: what the input takes)').argParser(imageSize))
    .addOption(new Option('--crop <size>', 'size cut from the center, after resizing (default: all)').argParser(imageSize))
    .addOption(new Option('--resample <filter>', 'filter for resizing (default: bilinear)').choices(RESAMPLE_FILTERS))
    .addOption(new RepeatableOption('--mean <list>', 'taken from the scaled pixels: one number, or one for each channel (default: 0)').argParser(numberList))
    .addOption(new RepeatableOption('--std <list>', 'that divides afterwards: one number, or one for each channel (default: 1)').argParser(numberList))
    .addOption(new Option('--scale <factor>', 'that multiplies pixels 0 to 255 first (default: 1/255; 1 for uint8 inputs)').argParser(fraction))
    .addOption(new Option('--layout <order>', "order of the axes (default: the input's)").choices(['nchw', 'nhwc']))
    .addOption(new Option('--channels <order>', 'order of the channels (default: rgb; gray where the input has one)').choices(['rgb', 'bgr', 'gray']))
    .option('--preprocessor <file>', 'a Hugging Face preprocessor_config.json; the other options override it');
}

/** The data options as the library takes them. */
export function dataOptionsOf(flags: DataFlags): DataOptions {
  const { data, stacked, limit, split, shape, resize, crop, resample, mean, std, scale, layout, channels, preprocessor: config } = flags;
  return definedFields({ data, stacked, limit, split, shape, resize, crop, resample, mean, std, scale, layout, channels, config });
}
