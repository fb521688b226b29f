// The work that every engine does: a flow passes its value through the same small pure step until n is 3.
//   W1. A flow starts at n = 0 and so has three steps; a one-step job starts at n = 2.
//   W2. A value is about 100 bytes of JSON, and a step's input is the output of the step before it. The project's own benchmark
//       (bench/flows.ts) passes the same event through the same step.

export const stepsPerFlow = 3

export function flowInput(number) {
  return {
    n: 0,
    repo: 'octo-org/hello-world',
    login: `user${number % 1000}`,
    action: 'opened',
    title: 'An event like many others',
  }
}

export function oneStepInput(number) {
  return { ...flowInput(number), n: stepsPerFlow - 1 }
}

export function step(value) {
  return { n: value.n + 1, ok: true, repo: value.repo, login: value.login, tags: ['a', 'b'] }
}

export function isLast(value) {
  return value.n >= stepsPerFlow
}

export function range(from, count) {
  return Array.from({ length: count }, (_, index) => from + index)
}

/** Calls `act` for each item with at most `width` calls under way. */
export async function inParallel(items, width, act) {
  let next = 0
  const lane = async () => {
    while (next < items.length) await act(items[next++])
  }
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane))
}

export function chunks(items, size) {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size))
}
