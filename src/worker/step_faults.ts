// What fails a step before its code has run: an expression, its arguments, what it names.
import { messageOf, type UserError } from '../core/errors.ts'
import { NotAtHand } from '../core/lookups.ts'

/** Has a name of its own; what else is thrown where a step begins is its expression's. */
export class StepFault extends Error {
  constructor(name: string, message: string) {
    super(message)
    this.name = name
  }
}

/** @throws NotAtHand, which is no failure */
export function expressionError(error: unknown): UserError {
  if (error instanceof NotAtHand) throw error
  return { name: error instanceof StepFault ? error.name : 'ExpressionError', message: messageOf(error) }
}

export function referenceError(error: Error): UserError {
  return { name: 'NotFound', message: error.message }
}
