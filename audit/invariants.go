package audit

// invariant is something that holds in every shop at all times.
type invariant struct {
	name     string
	sentence string
	// across marks what two databases must agree about, for which they get the grace.
	across bool
	// order looks at one order and says what is wrong, or "". An order that it does not apply to is not
	// looked at. It is nil for invariants that other scans look at.
	order func(d *dossier) (wrong string, looked bool)
}

// Names of the invariants that are not about one order.
const (
	nameCheckout     = "one-checkout-per-cart"
	nameKeys         = "idempotency-keys"
	nameStock        = "stock-movements"
	nameNegative     = "stock-never-negative"
	nameReserved     = "stock-reserved"
	nameSandboxBooks = "sandbox-books"
	nameOwners       = "rows-without-owner"
	nameProvider     = "provider-events"
	nameFeeds        = "feeds-behind"
)

// invariants are all that are checked, in the order in which they are shown.
func invariants() []invariant {
	return []invariant{
		{name: "order-totals", sentence: "The total of every checked-out order is the sum of its lines, its tax and its shipping fee.", order: orderTotals},
		{name: "order-history", sentence: "The history of every order has no gap, takes legal steps only and ends in the status of the order.", order: orderHistory},
		{name: "order-sagas", sentence: "Every checked-out order has a saga, whose end is the status of the order.", order: orderSagas},
		{name: "sagas-stuck", sentence: "No saga has been due for more than two minutes, has gone on far beyond its deadline, or has failed a hundred times at one step.", order: sagasStuck},
		{name: nameCheckout, sentence: "A cart has led to at most one order that stands, which closed it; it is in checkout exactly while that order is pending.", order: oneCheckoutPerCart},
		{name: nameKeys, sentence: "An Idempotency-Key led to one order, and its final answer is what became of that order.", order: idempotencyKeys},

		{name: nameStock, sentence: "What is on hand of a product is the sum of its movements, each of which has the right balance and, when something was sold, an order."},
		{name: nameNegative, sentence: "No stock is negative, nor ever was, and no more is reserved than is on hand."},
		{name: nameReserved, sentence: "What is reserved of a product is what live reservations hold of it."},
		{name: "stock-sold", sentence: "Stock was sold once for every committed reservation and came back once for every returned one.", order: stockSold},
		{name: "reservations-overdue", sentence: "No reservation is held for more than two minutes after it expired.", order: reservationsOverdue},

		{name: "payment-amounts", sentence: "No more is captured than was authorised and no more refunded than captured, and the state of a payment says so.", order: paymentAmounts},
		{name: "payment-operations", sentence: "The amounts of a payment are those of its completed operations, and what is set aside is for operations under way.", order: paymentOperations},
		{name: "operations-overdue", sentence: "No operation on a payment has been due for more than two minutes.", order: operationsOverdue},
		{name: "ledger-balance", sentence: "Every entry of the ledger sums to zero, in one currency.", order: ledgerBalance},
		{name: "ledger-payments", sentence: "The ledger has one entry for every completed capture and refund, of the same amount, and no other.", order: ledgerPayments},
		{name: "sandbox-charges", sentence: "The sandbox has one charge for every payment it authorised, captured, refunded and voided as the payment says.", order: sandboxCharges},
		{name: "charged-once", sentence: "No order is charged twice.", order: chargedOnce},
		{name: nameSandboxBooks, sentence: "The sandbox's charges are the sum of the operations it did."},
		{name: nameProvider, sentence: "No event of a payment provider contradicts our books, and none has been due for more than two minutes."},

		{name: "shipment-history", sentence: "The history of every shipment takes legal steps only and ends in the state of the shipment.", order: shipmentHistory},
		{name: "notifications-overdue", sentence: "No step of a shipment has waited for more than two minutes to be told to order-service.", order: notificationsOverdue},

		{name: "paid-orders-charged", sentence: "Every order that stands has one payment, which was captured in full.", across: true, order: paidOrdersCharged},
		{name: "charges-have-orders", sentence: "Money that was set aside or taken, and not given back, is for an order that is pending or stands.", across: true, order: chargesHaveOrders},
		{name: "orders-have-stock", sentence: "Every order that stands took exactly its lines out of stock, and stock is held or sold for such orders only.", across: true, order: ordersHaveStock},
		{name: "orders-have-shipments", sentence: "Every order that stands has a shipment, whose state goes with the status of the order.", across: true, order: ordersHaveShipments},
		{name: "cancelled-is-empty", sentence: "A cancelled order holds no money, no stock and no shipment, and a refunded one no money.", across: true, order: cancelledIsEmpty},
		{name: "shipped-was-ordered", sentence: "A shipment holds exactly what was ordered.", across: true, order: shippedWasOrdered},
		{name: "shipped-was-paid", sentence: "There are shipments for paid orders only.", across: true, order: shippedWasPaid},
		{name: "orders-know", sentence: "What an order says of its payment and its shipment is what these are.", across: true, order: ordersKnow},

		{name: "events-complete", sentence: "Every step of an order, a payment and a shipment is told by one event.", order: eventsComplete},
		{name: nameFeeds, sentence: "Order-service has read every event of payment-service that is older than two minutes."},
		{name: nameOwners, sentence: "No operation, charge or shipment event is left without the payment or the shipment that it belongs to."},
	}
}

// numberOf is the place of an invariant in the list.
func numberOf(name string) int {
	for i, invariant := range invariants() {
		if invariant.name == name {
			return i
		}
	}
	panic("no invariant is called " + name) // a constant of this package
}
