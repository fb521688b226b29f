// The steps of a job as a tree in text: what `millrace job show` prints. Pure.
//   T1. Of many iterations the failed ones are shown, the first ones, and those under way; the rest is counted.
import type { JobTree, StepTree } from '../client/client.ts'
import { printable, table } from './output.ts'

const listsShown = 10

export function treeText(tree: JobTree): string {
  return table(['STEP', 'STATE', 'TOOK', 'ID'], rowsOf(tree.steps, ''))
}

function rowsOf(steps: readonly StepTree[], indent: string): string[][] {
  return steps.flatMap((step) => [
    [`${indent}${step.id}`, stateOf(step), tookOf(step.duration_ms), step.job ?? ''],
    ...listRows(step.inside ?? [], `${indent}  `),
  ])
}

function listRows(lists: readonly JobTree[], indent: string): string[][] {
  const shown = lists.length <= listsShown ? lists : chosen(lists)
  const rows = shown.flatMap((list) => [
    [`${indent}${list.label}`, stateOfList(list), tookOf(list.duration_ms), list.job],
    ...rowsOf(list.steps, `${indent}  `),
  ])
  const left = lists.length - shown.length
  if (left > 0) rows.push([`${indent}… ${left} more`, '', '', ''])
  return rows
}

function chosen(lists: readonly JobTree[]): JobTree[] {
  const matters = new Set(lists.filter((list) => list.success !== true).slice(0, listsShown))
  for (const list of lists) if (matters.size < listsShown) matters.add(list)
  return lists.filter((list) => matters.has(list))
}

function stateOfList({ success, steps }: JobTree): string {
  if (success !== null) return success ? 'Success' : 'Failure'
  return steps.some((step) => step.type === 'WaitingForEvents') ? 'WaitingForEvents' : 'InProgress'
}

function stateOf(step: StepTree): string {
  const notes: string[] = []
  if (step.skipped) notes.push('skipped')
  if (step.cached) notes.push('cached')
  if (step.failed_retries?.length) notes.push(`try ${step.failed_retries.length + 1}`)
  if (step.progress !== undefined) notes.push(`${step.progress} %`)
  if (step.count !== undefined) notes.push(`${step.count} to come`)
  if (step.approvers?.length)
    notes.push(`answered by ${step.approvers.map(({ approver }) => printable(approver) || 'someone').join(', ')}`)
  if (step.error) notes.push(shortened(`${step.error.name}: ${step.error.message}`))
  return notes.length === 0 ? step.type : `${step.type} (${notes.join('; ')})`
}

function tookOf(ms: number | null): string {
  return ms === null ? '' : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`
}

function shortened(text: string): string {
  const line = printable(text.split('\n')[0]!)
  return line.length > 80 ? `${line.slice(0, 79)}…` : line
}
