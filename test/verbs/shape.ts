import assert from 'node:assert/strict';

/** Looks at a value and returns what is wrong with it, with the path to it. */
export type Shape = (value: unknown, path: string) => string[];

/** Asserts that a result has a shape and is plain data, which JSON carries over as it is. */
export function assertShape(value: unknown, shape: Shape): void {
  assert.deepEqual(shape(value, ''), []);
  assert.deepEqual(JSON.parse(JSON.stringify(value)), value, 'JSON carries it over');
}

function expected(what: string, fits: (value: unknown) => boolean): Shape {
  return (value, path) => (fits(value) ? [] : [`${path}: expected ${what}, received ${JSON.stringify(value)}`]);
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);

export const text = expected('a text', (value) => typeof value === 'string' && value !== '');
export const anyText = expected('a text', (value) => typeof value === 'string');
export const number = expected('a number', isNumber);
export const flag = expected('true or false', (value) => typeof value === 'boolean');
export const count = expected('a count', (value) => Number.isSafeInteger(value) && (value as number) >= 0);
export const positive = expected('a positive number', (value) => isNumber(value) && value > 0);
export const duration = expected('a duration', (value) => isNumber(value) && value >= 0);
export const share = expected('a share from 0 to 1', (value) => isNumber(value) && value >= 0 && value <= 1);
export const sha256 = expected('a SHA-256 in hex', (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value));

/** One of these values, compared as they are. */
export const oneOf = (...values: readonly (string | number | boolean | null)[]): Shape => expected(`one of ${values.join(', ')}`, (value) => values.includes(value as string));

/** The shape, or null. */
export const nullable = (shape: Shape): Shape => (value, path) => (value === null ? [] : shape(value, path));

/** A list of such items. */
export const list = (item: Shape): Shape => (value, path) => (Array.isArray(value) ? value.flatMap((each, i) => item(each, `${path}[${i}]`)) : [`${path}: expected a list, received ${JSON.stringify(value)}`]);

/** An object with any keys and such values. */
export const record = (item: Shape): Shape => (value, path) => (isObject(value) ? Object.entries(value).flatMap(([key, each]) => item(each, `${path}.${key}`)) : [`${path}: expected an object, received ${JSON.stringify(value)}`]);

/** An object that has at least these fields. */
export const fields = (shapes: Readonly<Record<string, Shape>>): Shape => (value, path) => {
  if (!isObject(value)) return [`${path}: expected an object, received ${JSON.stringify(value)}`];
  return Object.entries(shapes).flatMap(([key, shape]) => (key in value ? shape(value[key], `${path}.${key}`) : [`${path}.${key} is missing`]));
};

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
