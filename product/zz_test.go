package product
import ("testing";"fmt";"time";"tienda/sqldb";"tienda/sqldb/sqldbtest";"tienda/api")
func TestZZ(t *testing.T){
  db:=sqldbtest.Open(t,"mysql",migrations...)
  s:=open(t,db)
  s.addCategory("a",0); s.addCategory("b",1)
  err:=db.Tx(t.Context(), func(tx *sqldb.Tx) error {
   for i:=range 20000 { 
    p:=api.Product{ProductTitle:new(fmt.Sprintf("thing number %d word%d",i,i%100)),PriceUnit:new(usd.Amount(int64(i))),SKU:new(fmt.Sprint("S",i)),Category:&api.Category{CategoryID:api.ID(1+i%2)}}
    id,err:=s.service.insertProduct(t.Context(),tx,p,time.Now()); if err!=nil {return err}
    p.ProductID=id
    if err:=indexProduct(t.Context(),tx,p);err!=nil{return err}
   }; return nil })
  if err!=nil{t.Fatal(err)}
  mx := "\U0010FFFF"
  for _, w := range []string{"th","word5"} {
  for _, c := range []string{
   "p.product_id IN (SELECT product_id FROM product_terms WHERE term >= ? AND term < ?)",
   "EXISTS (SELECT 1 FROM product_terms t WHERE t.product_id = p.product_id AND t.term >= ? AND t.term < ?)",
   "p.product_id IN (SELECT DISTINCT product_id FROM product_terms WHERE term >= ? AND term < ? )",
  } {
   for _, q := range []string{"SELECT "+productColumns+productTables+onSale+" AND "+c+" ORDER BY p.product_id LIMIT 20", "SELECT COUNT(*) FROM (SELECT p.product_id FROM products p WHERE "+onSale+" AND "+c+" LIMIT 10001) AS counted"} {
    st:=time.Now()
    rows,err:=db.Query(t.Context(), q, w, w+mx); if err!=nil{t.Fatal(err)}; for rows.Next(){}; rows.Close()
    fmt.Println(w, c[:30], q[:20], time.Since(st))
    rows,err=db.Query(t.Context(), "EXPLAIN "+q, w, w+mx); if err!=nil{t.Fatal(err)}
    cols,_:=rows.Columns()
    for rows.Next(){ v:=make([]*string,len(cols)); a:=make([]any,len(cols)); for i:=range v{a[i]=&v[i]}; rows.Scan(a...); for _,x:=range v { if x!=nil {fmt.Print(*x," | ")} else {fmt.Print("- | ")} }; fmt.Println() }
    rows.Close()
   }}}
}
