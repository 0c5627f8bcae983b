package payment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/form"

	"tienda/api"
)

// stripeName is what Stripe is called in a payment method.
const stripeName = "stripe"

// StripeSettings are those of the provider that takes cards by way of Stripe.
type StripeSettings struct {
	Enabled bool `koanf:"enabled"`
	// URL is Stripe's API, or what stands in for it in a test.
	URL string `koanf:"url"`
	// SecretKey is the key of the API, or SecretKeyFile the file that holds it.
	SecretKey     string `koanf:"secret-key"`
	SecretKeyFile string `koanf:"secret-key-file"`
	// WebhookSecret is the signing secret of the webhook endpoint, or WebhookSecretFile the file that holds it.
	WebhookSecret     string `koanf:"webhook-secret"`
	WebhookSecretFile string `koanf:"webhook-secret-file"`
}

// stripeProvider is a [Provider] that keeps each payment as one payment intent of Stripe's, which is
// confirmed as it is made and captured by hand.
//
// Stripe does once what it is asked under one Idempotency-Key, with two exceptions that [stripeProvider.once]
// sees to: it forgets keys after a day, and it repeats a failure of its own under the key that met it.
// Every object carries our key in its metadata, so that it can be looked for and its events be understood.
//
// Of stripe-go it uses the backend and the parameters, not the client: that one, with the methods of all
// of Stripe's API, would add a quarter to the program. And it reads answers into types of its own, since
// the library's know each other and cost some megabytes at the first use.
type stripeProvider struct {
	backend stripe.Backend
	connect *http.Client
	key     string // of the API
	secret  string // of the webhook endpoint
	unit    int64  // Stripe's amounts are ours times this
	now     func() time.Time
}

// Names of metadata.
const (
	metaBooks   = "tienda_books"   // whose books know the object
	metaOrder   = "tienda_order"   // the order's id
	metaPayment = "tienda_payment" // the payment's id, for people who look at Stripe's dashboard
	metaKey     = "tienda_key"     // the key of the authorization, or of the refund
	metaCapture = "tienda_capture" // the key of the capture
)

// newStripe makes the provider. It asks Stripe nothing yet.
func newStripe(settings StripeSettings, currency api.Currency, now func() time.Time) (*stripeProvider, error) {
	base, err := url.Parse(settings.URL)
	if err != nil || base.Host == "" || base.Scheme != "https" && (base.Scheme != "http" || base.Hostname() != "127.0.0.1" && base.Hostname() != "localhost") {
		return nil, errors.New("tienda.payment.stripe.url must be an https:// address: the secret key travels in every request")
	}
	key, err := secret("secret-key", settings.SecretKey, settings.SecretKeyFile)
	if err != nil {
		return nil, err
	}
	webhookSecret, err := secret("webhook-secret", settings.WebhookSecret, settings.WebhookSecretFile)
	if err != nil {
		return nil, err
	}
	digits := stripeDigits(currency.Code)
	if digits < currency.Digits {
		return nil, fmt.Errorf("tienda.currency is %s: Stripe takes it with %d decimals and the shop counts %d, so that amounts would have to be rounded",
			currency.Code, digits, currency.Digits)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = sweepAtOnce * 4
	connect := &http.Client{Transport: bounded{transport}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // the secret key goes to no other address
	}}
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: new(settings.URL), HTTPClient: connect,
		MaxNetworkRetries: new(int64(0)),                                  // the retries of the service are durable
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull}, // answers hold client secrets
		EnableTelemetry:   new(false),
	})
	return &stripeProvider{backend: backend, connect: connect, key: key, secret: webhookSecret,
		unit: int64(math.Pow10(digits - currency.Digits)), now: now}, nil
}

// secret is a setting that is given as it is or as the name of a file. Its value stands in no error.
func secret(name, value, file string) (string, error) {
	switch {
	case value != "" && file != "":
		return "", fmt.Errorf("tienda.payment.stripe.%s and %s-file are both set: leave one away", name, name)
	case file != "":
		content, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("tienda.payment.stripe.%s-file: %w", name, err)
		}
		value = strings.TrimSpace(string(content))
	}
	if value == "" {
		return "", fmt.Errorf("tienda.payment.stripe.%s is empty: set it or %s-file, or leave tienda.payment.stripe.enabled off", name, name)
	}
	return value, nil
}

// stripeDigits is how many decimals Stripe counts a currency with (https://docs.stripe.com/currencies):
// ISO 4217 but for some that have none in use and two for Stripe.
func stripeDigits(currency string) int {
	switch {
	case slices.Contains([]string{"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"}, currency):
		return 0
	case slices.Contains([]string{"BHD", "JOD", "KWD", "OMR", "TND"}, currency):
		return 3
	}
	return 2
}

// bounded limits the size of answers; what is cut off does not parse, so that the outcome stays open.
type bounded struct{ next http.RoundTripper }

// maxStripeAnswer is far above any answer: an intent has some 10 KiB.
const maxStripeAnswer = 4 << 20

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, maxStripeAnswer), response.Body}
	}
	return response, err
}

// CloseIdleConnections lets an http.Client reach the connections below.
func (b bounded) CloseIdleConnections() {
	if closer, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// The parts of Stripe's objects that are read, of answers and events alike. Events may be of another
// version of the API than the library's types, which would refuse them.
type (
	stripeIntent struct {
		stripe.APIResource
		ID               string                     `json:"id"`
		Status           stripe.PaymentIntentStatus `json:"status"`
		Amount           int64                      `json:"amount"`
		AmountCapturable int64                      `json:"amount_capturable"`
		AmountReceived   int64                      `json:"amount_received"`
		Currency         string                     `json:"currency"`
		Metadata         map[string]string          `json:"metadata"`
		LastPaymentError *struct {
			Code        string `json:"code"`
			DeclineCode string `json:"decline_code"`
		} `json:"last_payment_error"`
	}
	stripeRefund struct {
		stripe.APIResource
		ID            string              `json:"id"`
		Status        stripe.RefundStatus `json:"status"`
		Amount        int64               `json:"amount"`
		Currency      string              `json:"currency"`
		PaymentIntent string              `json:"payment_intent"`
		Metadata      map[string]string   `json:"metadata"`
		FailureReason string              `json:"failure_reason"`
	}
	stripeList[T any] struct {
		stripe.APIResource
		HasMore bool `json:"has_more"`
		Data    []T  `json:"data"`
	}
)

// intent makes a call that is answered with an intent.
func (p *stripeProvider) intent(method, path string, params stripe.ParamsContainer) (stripeIntent, error) {
	var intent stripeIntent
	err := p.backend.Call(method, "/v1/payment_intents"+path, p.key, params, &intent)
	return intent, err
}

// retrieve reads an intent as it is now.
func (p *stripeProvider) retrieve(ctx context.Context, id string) (stripeIntent, error) {
	return p.intent(http.MethodGet, "/"+url.PathEscape(id), &stripe.Params{Context: ctx})
}

// cancel gives an intent up, under a key or, without one, under a key of the moment.
func (p *stripeProvider) cancel(id string, params stripe.Params) error {
	_, err := p.intent(http.MethodPost, "/"+url.PathEscape(id)+"/cancel", &stripe.PaymentIntentCancelParams{Params: params})
	return err
}

// list reads a page of a list.
func (p *stripeProvider) list(path string, params stripe.ParamsContainer, into stripe.LastResponseSetter) error {
	query := &form.Values{}
	form.AppendTo(query, params)
	return p.backend.CallRaw(http.MethodGet, path, p.key, []byte(query.Encode()), params.GetParams(), into)
}

// keyed are the parameters of a write under a key.
func keyed(ctx context.Context, key string) stripe.Params {
	return stripe.Params{Context: ctx, IdempotencyKey: &key}
}

// Authorize makes an intent and confirms it with the payment method that the token names.
func (p *stripeProvider) Authorize(ctx context.Context, request Request) (Result, error) {
	return p.once(KindAuthorize, request, func() (Result, error) {
		intent, err := p.intent(http.MethodPost, "", &stripe.PaymentIntentCreateParams{
			Params: keyed(ctx, request.Key), Amount: new(request.Amount * p.unit), Currency: new(strings.ToLower(request.Currency)),
			PaymentMethod: new(request.Token), PaymentMethodTypes: []*string{new("card")}, CaptureMethod: new("manual"), Confirm: new(true),
			// Nobody is there to answer the bank's questions: the checkout has been accepted already.
			ErrorOnRequiresAction: new(true),
			Description:           new("Order " + request.OrderID.String()),
			Metadata: map[string]string{metaBooks: request.Books, metaOrder: request.OrderID.String(),
				metaPayment: request.PaymentID.String(), metaKey: request.Key},
		})
		if refused, ok := errors.AsType[*stripe.Error](err); ok && refused.Code == stripe.ErrorCodeAuthenticationRequired && refused.PaymentIntent != nil {
			return Result{}, p.needsAction(ctx, refused.PaymentIntent.ID)
		}
		if err != nil {
			return Result{}, err
		}
		return p.authorized(ctx, intent)
	}, func() (Result, error) {
		intent, err := p.intentOf(ctx, request.Key)
		if err != nil {
			return Result{}, err
		}
		return p.authorized(ctx, intent)
	})
}

// intentOf finds the intent that an authorization made, if it did.
func (p *stripeProvider) intentOf(ctx context.Context, key string) (stripeIntent, error) {
	ours := func(intent stripeIntent) bool { return intent.Metadata[metaKey] == key }
	var found stripeList[stripeIntent]
	err := p.list("/v1/payment_intents/search", &stripe.PaymentIntentSearchParams{
		SearchParams: stripe.SearchParams{Context: ctx, Query: fmt.Sprintf("metadata[%q]:%q", metaKey, key)}}, &found)
	if err != nil {
		return stripeIntent{}, err
	}
	if i := slices.IndexFunc(found.Data, ours); i >= 0 {
		return found.Data[i], nil
	}
	// Lists are up to date where the search is behind.
	page := stripe.ListParams{Context: ctx, Limit: new(int64(stripePage))}
	for range mostPages {
		var recent stripeList[stripeIntent]
		err := p.list("/v1/payment_intents", &stripe.PaymentIntentListParams{ListParams: page,
			CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: p.now().Add(-searchLag).Unix()}}, &recent)
		if err != nil {
			return stripeIntent{}, err
		}
		if i := slices.IndexFunc(recent.Data, ours); i >= 0 {
			return recent.Data[i], nil
		}
		if !recent.HasMore || len(recent.Data) == 0 {
			return stripeIntent{}, errNothingThere
		}
		page.StartingAfter = new(recent.Data[len(recent.Data)-1].ID)
	}
	return stripeIntent{}, openError("too many intents to look through for a recent one")
}

// authorized is what an intent means for the authorization that made it.
func (p *stripeProvider) authorized(ctx context.Context, intent stripeIntent) (Result, error) {
	if intent.Status == stripe.PaymentIntentStatusProcessing {
		// The answer of a key is that of then: only the intent itself tells how it went on.
		var err error
		if intent, err = p.retrieve(ctx, intent.ID); err != nil {
			return Result{}, err
		}
	}
	switch intent.Status {
	case stripe.PaymentIntentStatusRequiresCapture, stripe.PaymentIntentStatusSucceeded:
		return Result{Reference: intent.ID}, nil
	case stripe.PaymentIntentStatusRequiresAction, stripe.PaymentIntentStatusRequiresConfirmation:
		return Result{}, p.needsAction(ctx, intent.ID)
	case stripe.PaymentIntentStatusRequiresPaymentMethod:
		code := string(stripe.ErrorCodeCardDeclined)
		if why := intent.LastPaymentError; why != nil {
			code = cmp.Or(why.DeclineCode, why.Code, code)
		}
		return Result{}, &Refusal{Code: code, Declined: true}
	case stripe.PaymentIntentStatusCanceled:
		return Result{}, &Refusal{Code: "canceled", Declined: true}
	}
	return Result{}, openError("intent " + intent.ID + " is " + string(intent.Status))
}

// codeAuthentication is the failure code of a card whose bank wants to ask its holder (3-D Secure).
const codeAuthentication = "authentication_required"

// needsAction is the refusal of a card whose holder would have to act. The intent is cancelled first, so
// that no money can be set aside on it later.
func (p *stripeProvider) needsAction(ctx context.Context, intent string) error {
	// Under a key of the moment: to cancel again does no harm, and a failure that Stripe keeps would.
	err := p.cancel(intent, stripe.Params{Context: ctx})
	if unexpectedState(err) {
		_, err = p.cancelled(ctx, intent)
	}
	if err != nil {
		return fmt.Errorf("cancel intent %s: %w", intent, unknown(err))
	}
	return &Refusal{Code: codeAuthentication, Declined: true}
}

// Capture takes money of an intent: once, and what is not taken is given up by Stripe.
func (p *stripeProvider) Capture(ctx context.Context, request Request) (Result, error) {
	done := func(intent stripeIntent, err error) (Result, error) {
		switch {
		case err != nil:
			return Result{}, err
		case intent.Status == stripe.PaymentIntentStatusSucceeded && intent.Metadata[metaCapture] == request.Key:
			return Result{Reference: intent.ID}, nil
		case intent.Status == stripe.PaymentIntentStatusProcessing:
			return Result{}, openError("intent " + intent.ID + " is " + string(intent.Status))
		}
		return Result{}, errNothingThere
	}
	return p.once(KindCapture, request, func() (Result, error) {
		return done(p.intent(http.MethodPost, "/"+url.PathEscape(request.Reference)+"/capture", &stripe.PaymentIntentCaptureParams{
			Params: keyed(ctx, request.Key), AmountToCapture: new(request.Amount * p.unit), Metadata: map[string]string{metaCapture: request.Key},
		}))
	}, func() (Result, error) {
		return done(p.retrieve(ctx, request.Reference))
	})
}

// Void cancels an intent.
func (p *stripeProvider) Void(ctx context.Context, request Request) (Result, error) {
	return p.once(KindVoid, request, func() (Result, error) {
		return Result{Reference: request.Reference}, p.cancel(request.Reference, keyed(ctx, request.Key))
	}, func() (Result, error) { return p.cancelled(ctx, request.Reference) })
}

// cancelled looks whether an intent is cancelled, by whomever: nothing is set aside on it then.
func (p *stripeProvider) cancelled(ctx context.Context, intent string) (Result, error) {
	found, err := p.retrieve(ctx, intent)
	if err == nil && found.Status != stripe.PaymentIntentStatusCanceled {
		err = errNothingThere
	}
	return Result{Reference: intent}, err
}

// Refund gives money back.
func (p *stripeProvider) Refund(ctx context.Context, request Request) (Result, error) {
	done := func(refund stripeRefund) (Result, error) {
		switch refund.Status {
		case stripe.RefundStatusSucceeded, stripe.RefundStatusPending: // pending: Stripe has it and sees to it
			return Result{Reference: request.Reference}, nil
		case stripe.RefundStatusFailed, stripe.RefundStatusCanceled:
			return Result{}, &Refusal{Code: cmp.Or(refund.FailureReason, string(refund.Status))}
		}
		return Result{}, openError("refund " + refund.ID + " is " + string(refund.Status))
	}
	return p.once(KindRefund, request, func() (Result, error) {
		var refund stripeRefund
		err := p.backend.Call(http.MethodPost, "/v1/refunds", p.key, &stripe.RefundCreateParams{
			Params: keyed(ctx, request.Key), PaymentIntent: new(request.Reference), Amount: new(request.Amount * p.unit),
			Metadata: map[string]string{metaBooks: request.Books, metaOrder: request.OrderID.String(), metaPayment: request.PaymentID.String(), metaKey: request.Key},
		}, &refund)
		if err != nil {
			return Result{}, err
		}
		return done(refund)
	}, func() (Result, error) {
		page := stripe.ListParams{Context: ctx, Limit: new(int64(stripePage))}
		for range mostPages {
			var list stripeList[stripeRefund]
			err := p.list("/v1/refunds", &stripe.RefundListParams{ListParams: page, PaymentIntent: new(request.Reference)}, &list)
			if err != nil {
				return Result{}, err
			}
			for _, refund := range list.Data {
				if refund.Metadata[metaKey] == request.Key {
					return done(refund)
				}
			}
			if !list.HasMore || len(list.Data) == 0 {
				return Result{}, errNothingThere
			}
			page.StartingAfter = new(list.Data[len(list.Data)-1].ID)
		}
		return Result{}, openError("too many refunds to look through")
	})
}

// errNothingThere is what looking finds when the movement did not take place.
const errNothingThere = openError("no such movement")

const (
	// keyLife is for how long Stripe is trusted to know a key; it promises 24 hours.
	keyLife = 23 * time.Hour
	// searchLag is how far Stripe's search may be behind: a minute, it says, unless something is wrong.
	searchLag = 5 * time.Minute
	// stripePage and mostPages are how many objects are looked through at most: 2,000.
	stripePage, mostPages = 100, 20
	// stuckAfter is how long a failure of Stripe's own may take to turn out well after all.
	stuckAfter = 2 * time.Minute
)

// once makes one movement: ask sends it under the request's key, look finds what came of it in Stripe's
// own records.
func (p *stripeProvider) once(kind Kind, request Request, ask, look func() (Result, error)) (Result, error) {
	age := p.now().Sub(request.Begun)
	if age > keyLife {
		result, err := look()
		if !errors.Is(err, errNothingThere) {
			return result, unknown(err)
		}
		if kind == KindAuthorize {
			return Result{}, &Refusal{Code: "expired"} // nobody expects to be charged a day later
		}
	}
	result, err := ask()
	if err == nil {
		return result, nil
	}
	failed, ok := errors.AsType[*stripe.Error](err)
	// The failure that Stripe keeps under the key will be its answer for a day.
	stuck := ok && failed.HTTPStatusCode >= 500 && age > stuckAfter && failed.LastResponse != nil && failed.LastResponse.Header.Get("Idempotent-Replayed") == "true"
	if !stuck && !unexpectedState(err) {
		return Result{}, verdict(kind, err)
	}
	result, errLook := look()
	switch {
	case errLook == nil:
		return result, nil
	case !errors.Is(errLook, errNothingThere):
		return Result{}, unknown(errLook)
	case stuck:
		return Result{}, &Refusal{Code: "provider_error"}
	}
	return Result{}, verdict(kind, err)
}

// unexpectedState reports whether Stripe refused because of what became of the object before, which may
// have been this very movement.
func unexpectedState(err error) bool {
	failed, ok := errors.AsType[*stripe.Error](err)
	if !ok {
		return false
	}
	switch failed.Code {
	case stripe.ErrorCodePaymentIntentUnexpectedState, stripe.ErrorCodeChargeAlreadyRefunded, stripe.ErrorCodeChargeAlreadyCaptured:
		return true
	}
	return failed.Type == stripe.ErrorTypeIdempotency // asked before with other parameters, by another version of ours
}

// verdict is what an error of Stripe's means: a definite no is a Refusal.
func verdict(kind Kind, err error) error {
	failed, ok := errors.AsType[*stripe.Error](err)
	if !ok {
		return unknown(err)
	}
	switch status := failed.HTTPStatusCode; {
	case failed.Type == stripe.ErrorTypeIdempotency, status < 400, status >= 500, status == http.StatusConflict, status == http.StatusTooManyRequests,
		status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return unknown(err)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return unknown(err) // about our key, which an operator will mend: no reason to turn customers away for good
	}
	code := cmp.Or(string(failed.DeclineCode), string(failed.Code), string(failed.Type), "refused")
	return &Refusal{Code: code, Declined: kind == KindAuthorize && failed.Type == stripe.ErrorTypeCard}
}

// unknown is an error that leaves the outcome open, without the answers of Stripe, which its library puts
// into errors and which hold client secrets. A Refusal stays what it is.
func unknown(err error) error {
	if _, ok := errors.AsType[*Refusal](err); ok || err == nil {
		return err
	}
	if _, ok := errors.AsType[openError](err); ok {
		return err
	}
	if failed, ok := errors.AsType[*stripe.Error](err); ok {
		return openError(fmt.Sprintf("status %d, %s, request %s", failed.HTTPStatusCode, cmp.Or(string(failed.Code), string(failed.Type), "no code"), failed.RequestID))
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return openError(failed.Error())
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return openError(err.Error())
	}
	return openError("the answer cannot be read")
}

// openError says why Stripe gave no outcome.
type openError string

// Error is the text.
func (e openError) Error() string { return "stripe: " + string(e) }
