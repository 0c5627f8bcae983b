package payment

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"

	"tienda/api"
)

// stripeSignature is the header "t=UNIX,v1=HEX,…" of Stripe's webhooks.
const stripeSignature = "Stripe-Signature"

// verifyStripe checks a signature, and its age by our own clock, which the library does not ask.
func verifyStripe(secret, header string, body []byte, now time.Time) error {
	if err := webhook.ValidatePayloadIgnoringTolerance(body, header, secret); err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	var signed int64
	for part := range strings.SplitSeq(header, ",") {
		if text, ok := strings.CutPrefix(part, "t="); ok {
			// The last one, as the library: it is the one that is signed.
			if unix, err := strconv.ParseInt(text, 10, 64); err == nil {
				signed = unix
			}
		}
	}
	if age := now.Sub(time.Unix(signed, 0)); age > signatureLife || age < -signatureLife {
		return fmt.Errorf("%w: it is not from within the last %v", ErrSignature, signatureLife)
	}
	return nil
}

// ParseWebhook reads an event of Stripe's.
//
// Of those that Stripe sends, payment_intent.amount_capturable_updated and .payment_failed tell what came of
// an authorization, .succeeded of a capture, .canceled of a void, and refund.created, .updated and .failed
// (charge.refund.updated in older versions) of a refund. charge.refunded tells the same as refund.created
// without naming the refund, so it is kept and ignored, as are all others.
func (p *stripeProvider) ParseWebhook(header http.Header, body []byte, now time.Time) (Event, error) {
	if err := verifyStripe(p.secret, header.Get(stripeSignature), body, now); err != nil {
		return Event{}, err
	}
	var in stripe.Event
	if err := json.Unmarshal(body, &in); err != nil || in.Data == nil {
		return Event{}, api.BadRequest("the event is not JSON of Stripe")
	}
	event := Event{ID: in.ID}
	var err error
	switch in.Type {
	case stripe.EventTypePaymentIntentAmountCapturableUpdated:
		err = p.intentEvent(&event, in.Data.Raw, KindAuthorize)
	case stripe.EventTypePaymentIntentPaymentFailed:
		event.Refusal = &Refusal{Code: string(stripe.ErrorCodeCardDeclined), Declined: true}
		err = p.intentEvent(&event, in.Data.Raw, KindAuthorize)
	case stripe.EventTypePaymentIntentSucceeded:
		err = p.intentEvent(&event, in.Data.Raw, KindCapture)
	case stripe.EventTypePaymentIntentCanceled:
		err = p.intentEvent(&event, in.Data.Raw, KindVoid)
	case stripe.EventTypeRefundCreated, stripe.EventTypeRefundUpdated, stripe.EventTypeRefundFailed, stripe.EventTypeChargeRefundUpdated:
		err = p.refundEvent(&event, in.Data.Raw)
	}
	if err != nil {
		return Event{}, api.BadRequest("the object of the event is not JSON of Stripe")
	}
	return event, event.check()
}

// intentEvent fills an event about a payment intent. One that no authorization of a tienda made is not
// for us.
func (p *stripeProvider) intentEvent(event *Event, raw []byte, kind Kind) error {
	var intent stripeIntent
	if err := json.Unmarshal(raw, &intent); err != nil || intent.Metadata[metaKey] == "" {
		return err
	}
	event.Kind, event.Reference, event.Currency = kind, intent.ID, strings.ToUpper(intent.Currency)
	event.Authorization, event.Books = intent.Metadata[metaKey], intent.Metadata[metaBooks]
	event.OrderID, _ = api.ParseID(intent.Metadata[metaOrder]) // without one nothing unknown is taken in
	amount := intent.Amount
	switch kind {
	case KindAuthorize:
		event.Key = event.Authorization
		if event.Refusal == nil {
			if amount = intent.AmountCapturable; amount == 0 {
				event.Kind = "" // nothing is left to capture, which other events tell better
			}
		} else if why := intent.LastPaymentError; why != nil {
			event.Refusal.Code = clip(cmp.Or(why.DeclineCode, why.Code, event.Refusal.Code), maxCode)
		}
	case KindCapture:
		event.Key = cmp.Or(intent.Metadata[metaCapture], intent.ID+"/capture") // the latter when a person captured it
		amount = intent.AmountReceived
	case KindVoid:
		event.Key = intent.ID + "/cancel" // an intent is cancelled once, and no metadata goes with it
	}
	event.Amount = amount / p.unit
	return nil
}

// refundEvent fills an event about a refund. One without our metadata was made by a person, on a charge
// that may be ours.
func (p *stripeProvider) refundEvent(event *Event, raw []byte) error {
	var refund stripeRefund
	if err := json.Unmarshal(raw, &refund); err != nil {
		return err
	}
	switch refund.Status {
	case stripe.RefundStatusSucceeded, stripe.RefundStatusPending:
	case stripe.RefundStatusFailed, stripe.RefundStatusCanceled:
		event.Refusal = &Refusal{Code: clip(cmp.Or(refund.FailureReason, string(refund.Status)), maxCode)}
	default:
		return nil
	}
	event.Kind, event.Key, event.Reference = KindRefund, cmp.Or(refund.Metadata[metaKey], refund.ID), refund.PaymentIntent
	event.Amount, event.Currency, event.Books = refund.Amount/p.unit, strings.ToUpper(refund.Currency), refund.Metadata[metaBooks]
	return nil
}
