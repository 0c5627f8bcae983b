package payment

import (
	"database/sql"

	"tienda/api"
)

// pending is the state of a payment whose authorization has no outcome yet. It is never shown.
const pending = "PENDING"

// record is one row of payments. State is empty for the plain rows of the existing resource, which
// hold no money.
//
// Money that an operation under way will move is reserved first, so that operations which run at the
// same time cannot move more than there is: 0 ≤ captured ≤ captureReserved ≤ amount and
// 0 ≤ refunded ≤ refundReserved ≤ captured. A void reserves all of the amount.
type record struct {
	id, orderID, userID         api.ID
	paid                        sql.NullBool
	status                      sql.NullString
	state                       string
	amount                      int64
	captureReserved, captured   int64
	refundReserved, refunded    int64
	currency, provider          string
	providerReference, failCode string
}

// moving reports whether an operation on the payment is under way.
func (p record) moving() bool {
	return p.state == pending || p.captureReserved > p.captured || p.refundReserved > p.refunded
}

// left is how much of the payment an operation could still move, and whether its state allows one.
func (p record) left(kind Kind) (amount int64, allowed bool) {
	switch kind {
	case KindCapture:
		return p.amount - p.captureReserved, p.state == api.PaymentAuthorized || p.state == api.PaymentCaptured
	case KindVoid:
		return p.amount - p.captureReserved, p.state == api.PaymentAuthorized && p.captureReserved == 0
	case KindRefund:
		return p.captured - p.refundReserved, p.state == api.PaymentCaptured || p.state == api.PaymentPartiallyRefunded
	}
	return 0, false
}

// reserve sets amount aside for an operation that begins.
func (p record) reserve(kind Kind, amount int64) record {
	switch kind {
	case KindCapture, KindVoid:
		p.captureReserved += amount
	case KindRefund:
		p.refundReserved += amount
	}
	return p
}

// settle is the payment after an operation that was reserved for has ended; refusal is nil when the
// money moved.
func (p record) settle(kind Kind, amount int64, reference string, refusal *Refusal) record {
	switch {
	case kind == KindAuthorize && refusal != nil:
		p.state, p.failCode = api.PaymentFailed, refusal.Code
		if refusal.Declined {
			p.state = api.PaymentDeclined
		}
	case kind == KindAuthorize:
		p.state, p.providerReference = api.PaymentAuthorized, reference
	case kind == KindRefund && refusal != nil:
		p.refundReserved -= amount
	case kind == KindRefund:
		p.refunded += amount
	case kind == KindVoid:
		p.captureReserved -= amount
		if refusal == nil {
			p.state = api.PaymentVoided
		}
	case refusal != nil:
		p.captureReserved -= amount
	default:
		p.captured += amount
	}
	if p.captured > 0 {
		// From the amounts rather than the operation: a capture may end after a refund of an earlier one.
		switch p.refunded {
		case 0:
			p.state = api.PaymentCaptured
		case p.captured:
			p.state = api.PaymentRefunded
		default:
			p.state = api.PaymentPartiallyRefunded
		}
	}
	p.paid = sql.NullBool{Bool: p.captured > p.refunded, Valid: true}
	p.status = sql.NullString{String: statusOf(p.state), Valid: true}
	return p
}

// statusOf is a state in the original system's terms.
func statusOf(state string) string {
	switch state {
	case pending, api.PaymentAuthorized:
		return api.PaymentInProgress
	case api.PaymentCaptured, api.PaymentPartiallyRefunded, api.PaymentRefunded:
		return api.PaymentCompleted
	}
	return api.PaymentNotStarted // voided, declined, failed: no money has moved
}

// wire is the record as it travels. order stands in it as it is given.
func (p record) wire(currency api.Currency, order api.Order) api.Payment {
	payment := api.Payment{PaymentID: p.id, Order: &order}
	if p.paid.Valid {
		payment.IsPayed = &p.paid.Bool
	}
	if p.status.Valid {
		payment.PaymentStatus = &p.status.String
	}
	if p.state == "" {
		return payment
	}
	currency.Code = p.currency
	payment.State, payment.Currency, payment.Provider = p.state, p.currency, p.provider
	payment.Amount = new(currency.Amount(p.amount))
	payment.CapturedAmount = new(currency.Amount(p.captured))
	payment.RefundedAmount = new(currency.Amount(p.refunded))
	payment.ProviderReference, payment.FailureCode = p.providerReference, p.failCode
	return payment
}
