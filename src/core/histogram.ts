// A histogram that costs a comparison or a few: for what is counted where work is done, and read when somebody asks.
//   H1. Counts only grow, as Prometheus expects; `counts` has one more element than `bounds`, for what is beyond the last.

export class Histogram {
  /** Upper bounds, the bound itself included, ascending. Small values are the usual ones and are found first. */
  readonly bounds: readonly number[]
  readonly counts: Float64Array
  sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  /** HOT. */
  add(value: number): void {
    const { bounds } = this
    let i = 0
    while (i < bounds.length && value > bounds[i]!) i++
    this.counts[i]! += 1
    this.sum += value
  }
}

/** Of statements and calls, in seconds. */
export const secondsBounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
/** Of batches, in rows. */
export const rowsBounds = [1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000]
