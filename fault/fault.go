// Package fault makes a test build fail on purpose: processes that kill themselves at named points, and
// neighbours that answer late, twice, never, with an error or half.
//
// It exists with the build tag "faults" only ("go build -tags faults"). Without it the hooks below are
// empty, the compiler removes them, and nothing of this package is in the program.
//
// The hooks are few, because they stand where everything passes: [BeforeCommit] and [AfterCommit] in
// sqldb's transaction, [Answered] in the driver of order sagas, [Writer] around every handler and
// [Transport] below every client. A crash point is named by when and where:
//
//	before-commit order.place                                     the function that asked for the transaction
//	after-commit payment.settle                                   it is durable, and nobody has been told
//	answered capture                                              a neighbour did the saga's step, which is not written down
//	before-answer POST /order-service/api/carts/{cartId}/checkout the work of a route is done
//	mid-answer POST /payment-service/api/payments/authorize       half of the answer has left
//
// What happens there is said by a file, see the section on faults in docs/operations.md.
package fault
