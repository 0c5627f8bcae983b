package audit

import (
	"fmt"

	"tienda/api"
)

// What payment-service writes into its tables and shows nobody.
const (
	paymentPending   = "PENDING"
	operationPending = "PENDING"
	operationDone    = "DONE"

	kindAuthorize = "AUTHORIZE"
	kindCapture   = "CAPTURE"
	kindVoid      = "VOID"
	kindRefund    = "REFUND"

	sandbox = "sandbox"
)

// holds is the money of a payment that is set aside or taken, and not given back.
func (p *paymentRow) holds() int64 {
	if p.state == api.PaymentAuthorized {
		return p.amount
	}
	return p.captured - p.refunded
}

// wrong says what is wrong with the payment by itself.
func (p *paymentRow) wrong() string {
	switch {
	case p.captured < 0 || p.refunded < 0 || p.amount < 0:
		return "has a negative amount"
	case p.captured > p.amount:
		return fmt.Sprintf("captured %d of %d authorised", p.captured, p.amount)
	case p.refunded > p.captured:
		return fmt.Sprintf("refunded %d of %d captured", p.refunded, p.captured)
	case p.captureReserved < p.captured || p.captureReserved > p.amount:
		return fmt.Sprintf("has set %d aside to capture, beside %d captured of %d", p.captureReserved, p.captured, p.amount)
	case p.refundReserved < p.refunded || p.refundReserved > p.captured:
		return fmt.Sprintf("has set %d aside to refund, beside %d refunded of %d", p.refundReserved, p.refunded, p.captured)
	}
	fits := false
	switch p.state {
	case paymentPending, api.PaymentAuthorized, api.PaymentVoided, api.PaymentDeclined, api.PaymentFailed:
		fits = p.captured == 0
	case api.PaymentCaptured:
		fits = p.captured > 0 && p.refunded == 0
	case api.PaymentPartiallyRefunded:
		fits = 0 < p.refunded && p.refunded < p.captured
	case api.PaymentRefunded:
		fits = 0 < p.refunded && p.refunded == p.captured
	}
	if !fits {
		return fmt.Sprintf("is %s with %d captured and %d refunded", p.state, p.captured, p.refunded)
	}
	return ""
}

// moneyMoves reports whether a payment is more than a plain row of the original system's API.
func (p *paymentRow) moneyMoves() bool { return p.state != "" || p.amount != 0 || p.captured != 0 }

func paymentAmounts(d *dossier) (wrong string, looked bool) {
	for _, p := range d.payments {
		if !p.moneyMoves() {
			continue
		}
		looked = true
		if wrong := p.wrong(); wrong != "" {
			return fmt.Sprintf("payment %d %s", p.id, wrong), true
		}
	}
	return "", looked
}

// sums are what the operations of a payment add up to.
type sums struct {
	done, pending           map[string]int64 // by kind
	authorizations, waiting int
}

func (d *dossier) sumsOf(payment int64) sums {
	s := sums{done: map[string]int64{}, pending: map[string]int64{}}
	for _, op := range d.operations {
		if op.payment != payment {
			continue
		}
		if op.kind == kindAuthorize {
			s.authorizations++
		}
		switch op.state {
		case operationDone:
			s.done[op.kind] += op.amount
		case operationPending:
			s.waiting++
			s.pending[op.kind] += op.amount
		}
	}
	return s
}

func paymentOperations(d *dossier) (wrong string, looked bool) {
	for _, p := range d.payments {
		if !p.moneyMoves() {
			continue
		}
		looked = true
		s := d.sumsOf(p.id)
		aside := p.captured + s.pending[kindCapture] + s.pending[kindVoid]
		authorized := p.state != paymentPending && p.state != api.PaymentDeclined && p.state != api.PaymentFailed
		switch {
		case s.authorizations != 1:
			wrong = fmt.Sprintf("has %d authorizations", s.authorizations)
		case authorized && s.done[kindAuthorize] != p.amount:
			wrong = fmt.Sprintf("is about %d, but %d were authorised", p.amount, s.done[kindAuthorize])
		case !authorized && s.done[kindAuthorize] != 0:
			wrong = fmt.Sprintf("is %s, but its authorization is done", p.state)
		case (p.state == paymentPending) != (s.pending[kindAuthorize] != 0):
			wrong = fmt.Sprintf("is %s, with %d in authorizations under way", p.state, s.pending[kindAuthorize])
		case s.done[kindCapture] != p.captured:
			wrong = fmt.Sprintf("has captured %d, its completed captures sum to %d", p.captured, s.done[kindCapture])
		case s.done[kindRefund] != p.refunded:
			wrong = fmt.Sprintf("has refunded %d, its completed refunds sum to %d", p.refunded, s.done[kindRefund])
		case (p.state == api.PaymentVoided) != (s.done[kindVoid] != 0):
			wrong = fmt.Sprintf("is %s, with %d in completed voids", p.state, s.done[kindVoid])
		case p.captureReserved != aside:
			wrong = fmt.Sprintf("has set %d aside to capture or void, its operations make it %d", p.captureReserved, aside)
		case p.refundReserved != p.refunded+s.pending[kindRefund]:
			wrong = fmt.Sprintf("has set %d aside to refund, its operations make it %d", p.refundReserved, p.refunded+s.pending[kindRefund])
		default:
			continue
		}
		return fmt.Sprintf("payment %d %s", p.id, wrong), true
	}
	return "", looked
}

func operationsOverdue(d *dossier) (wrong string, looked bool) {
	for _, op := range d.operations {
		if op.state != operationPending {
			continue
		}
		looked = true
		if d.late(op.retryAt) {
			return fmt.Sprintf("operation %d, %s on payment %d, has been due for %v", op.id, op.kind, op.payment, d.ago(op.retryAt)), true
		}
	}
	return "", looked
}

// entry is one entry of the ledger: the sum of all its postings, and of those to what providers owe us.
type entry struct {
	payment, sum, receivable int64
	currency                 string
	sides                    int
}

// entries are the ledger's, by their number.
func (d *dossier) entries() map[int64]*entry {
	all := make(map[int64]*entry, len(d.postings)/2)
	for _, p := range d.postings {
		e := all[p.entry]
		if e == nil {
			e = &entry{payment: p.payment, currency: p.currency}
			all[p.entry] = e
		}
		if p.currency != e.currency || p.payment != e.payment {
			e.currency = "several currencies or payments"
		}
		e.sum += p.amount
		e.sides++
		if p.account != "sales" {
			e.receivable += p.amount
		}
	}
	return all
}

func ledgerBalance(d *dossier) (wrong string, looked bool) {
	for number, e := range d.entries() {
		looked = true
		if e.sum != 0 || e.sides < 2 || len(e.currency) != 3 {
			return fmt.Sprintf("the %d postings of ledger entry %d sum to %d in %s", e.sides, number, e.sum, e.currency), true
		}
	}
	return "", looked
}

func ledgerPayments(d *dossier) (wrong string, looked bool) {
	all := d.entries()
	for _, op := range d.operations {
		sign := map[string]int64{kindCapture: 1, kindRefund: -1}[op.kind]
		if sign == 0 || op.state != operationDone {
			continue
		}
		looked = true
		e := all[op.id]
		switch {
		case e == nil:
			return fmt.Sprintf("%s %d of payment %d is not in the ledger", op.kind, op.id, op.payment), true
		case e.payment != op.payment || e.receivable != sign*op.amount:
			return fmt.Sprintf("%s %d of %d on payment %d is in the ledger as %d on payment %d", op.kind, op.id, op.amount, op.payment, e.receivable, e.payment), true
		}
		for _, p := range d.payments {
			if p.id == op.payment && len(e.currency) == 3 && p.currency != e.currency {
				return fmt.Sprintf("payment %d is in %s, the ledger has it in %s", p.id, p.currency, e.currency), true
			}
		}
		delete(all, op.id)
	}
	for number, e := range all {
		return fmt.Sprintf("ledger entry %d of payment %d is of no completed capture or refund", number, e.payment), true
	}
	return "", looked
}

// sandboxCharges compares with the books of the sandbox, which nobody but the sandbox writes. While an
// operation is under way the sandbox may already have done it.
func sandboxCharges(d *dossier) (wrong string, looked bool) {
	for _, p := range d.payments {
		if p.provider != sandbox {
			continue
		}
		looked = true
		s := d.sumsOf(p.id)
		var mine []chargeRow
		for _, c := range d.charges {
			if c.payment == p.id {
				mine = append(mine, c)
			}
		}
		wants := p.state != paymentPending && p.state != api.PaymentDeclined && p.state != api.PaymentFailed
		switch {
		case len(mine) > 1:
			return fmt.Sprintf("the sandbox has %d charges for payment %d", len(mine), p.id), true
		case len(mine) == 0 && wants:
			return fmt.Sprintf("payment %d is %s, but the sandbox has no charge for it", p.id, p.state), true
		case len(mine) == 0:
			continue
		case !wants && s.pending[kindAuthorize] == 0:
			return fmt.Sprintf("payment %d is %s, but the sandbox has charge %s for it", p.id, p.state, mine[0].reference), true
		}
		c := mine[0]
		voidable := s.pending[kindVoid] != 0
		switch {
		case c.order != d.id || c.amount != p.amount || c.currency != p.currency || wants && c.reference != p.reference:
			wrong = fmt.Sprintf("is %d %s under %q, the sandbox has %d %s under %q for order %d", p.amount, p.currency, p.reference, c.amount, c.currency, c.reference, c.order)
		case c.captured < p.captured || c.captured > p.captured+s.pending[kindCapture]:
			wrong = fmt.Sprintf("has captured %d, the sandbox %d", p.captured, c.captured)
		case c.refunded < p.refunded || c.refunded > p.refunded+s.pending[kindRefund]:
			wrong = fmt.Sprintf("has refunded %d, the sandbox %d", p.refunded, c.refunded)
		case c.voided != (p.state == api.PaymentVoided) && !(c.voided && voidable):
			wrong = fmt.Sprintf("is %s, its charge in the sandbox is voided: %v", p.state, c.voided)
		default:
			continue
		}
		return fmt.Sprintf("payment %d %s", p.id, wrong), true
	}
	return "", looked
}

// chargedOnce: a charge that was voided took nothing.
func chargedOnce(d *dossier) (wrong string, looked bool) {
	charged := 0
	for _, p := range d.payments {
		switch p.state {
		case api.PaymentAuthorized, api.PaymentCaptured, api.PaymentPartiallyRefunded, api.PaymentRefunded:
			charged++
		}
	}
	if charged > 1 {
		return fmt.Sprintf("%d payments charge it", charged), true
	}
	atSandbox := 0
	for _, c := range d.charges {
		if !c.voided {
			atSandbox++
		}
	}
	if atSandbox > 1 {
		return fmt.Sprintf("the sandbox has charged it %d times", atSandbox), true
	}
	return "", charged+atSandbox > 0
}
