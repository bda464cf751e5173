/** What a description is checked with: each throws a PayloadError that names the first field that does not fit. */

import { PayloadError, type Safetensors } from "./safetensors";

export type Shapes = Pick<Safetensors, "has" | "shape">;

export const damaged = (what: string, why: string) => new PayloadError(`The data is damaged: ${what}: ${why}.`);

export function whole(value: unknown, low: number, high: number, what: string): void {
  if (!Number.isInteger(value) || !((value as number) >= low && (value as number) <= high))
    throw damaged(what, `${String(value).slice(0, 40)} is not a whole number from ${low} to ${high}`);
}

export function checkCount(values: unknown, count: number, what: string): void {
  if (!Array.isArray(values) || values.length !== count) throw damaged(what, `it should be a list of ${count}`);
}

export function fits(tensors: Shapes, name: string, axes: (number | number[])[], what: string): void {
  if (typeof name !== "string" || !tensors.has(name))
    throw damaged(what, `it needs a tensor ${String(name).slice(0, 40)}`);
  const shape = tensors.shape(name);
  const fit = shape.length === axes.length && axes.every((axis, i) => [axis].flat().includes(shape[i]));
  if (!fit)
    throw damaged(
      what,
      `tensor ${name} has the shape [${shape}], and should have [${axes.map((axis) => [axis].flat().join(" or "))}]`,
    );
}
