package favourite

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"tienda/api"
)

// neighbourAtMost is how long a list waits for what its neighbours know.
const neighbourAtMost = 2 * time.Second

// bare gives a favourite the nested objects that stand for what is not known: an id and nulls.
func bare(favourite *api.Favourite) {
	favourite.User = &api.User{UserID: favourite.UserID}
	favourite.Product = &api.Product{ProductID: favourite.ProductID}
}

// fillIn puts the users and products into favourites, asking each neighbour once. What a neighbour does
// not tell stays bare.
func (s *Service) fillIn(ctx context.Context, favourites []api.Favourite) {
	if len(favourites) == 0 {
		return
	}
	userIDs, productIDs := map[api.ID]bool{}, map[api.ID]bool{}
	for i := range favourites {
		bare(&favourites[i])
		userIDs[favourites[i].UserID], productIDs[favourites[i].ProductID] = true, true
	}
	ctx, cancel := context.WithTimeout(ctx, neighbourAtMost)
	defer cancel()
	var (
		wait     sync.WaitGroup
		users    = map[api.ID]*api.User{}
		products = map[api.ID]*api.Product{}
	)
	wait.Go(func() {
		found, err := s.neighbours.Users(ctx, slices.Sorted(maps.Keys(userIDs)))
		if err != nil {
			s.log.WarnContext(ctx, "favourites without their users", "err", err)
		}
		for _, u := range found {
			users[u.UserID] = &api.User{UserID: u.UserID, FirstName: u.FirstName, LastName: u.LastName, ImageURL: u.ImageURL, Email: u.Email, Phone: u.Phone}
		}
	})
	wait.Go(func() {
		found, err := s.neighbours.Products(ctx, slices.Sorted(maps.Keys(productIDs)))
		if err != nil {
			s.log.WarnContext(ctx, "favourites without their products", "err", err)
		}
		for _, p := range found {
			products[p.ProductID] = &api.Product{ProductID: p.ProductID, ProductTitle: p.ProductTitle, ImageURL: p.ImageURL, SKU: p.SKU,
				PriceUnit: p.PriceUnit, Quantity: p.Quantity}
		}
	})
	wait.Wait()
	for i := range favourites {
		if user, ok := users[favourites[i].UserID]; ok {
			favourites[i].User = user
		}
		if product, ok := products[favourites[i].ProductID]; ok {
			favourites[i].Product = product
		}
	}
}
