// Stages: what fills up on the way of an event, and where it stops. docs/operations.md ("Bounds") lists them all.

export interface Stage {
  name: string
  fill: number
  limit: number
}
