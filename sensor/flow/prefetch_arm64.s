#include "textflag.h"

// func prefetch(p unsafe.Pointer)
TEXT ·prefetch(SB), NOSPLIT, $0-8
	MOVD p+0(FP), R0
	PRFM (R0), PLDL1KEEP
	RET

// func prefetchHot(p unsafe.Pointer)
TEXT ·prefetchHot(SB), NOSPLIT, $0-8
	MOVD p+0(FP), R0
	PRFM (R0), PLDL1KEEP
	ADD $64, R0, R1
	PRFM (R1), PLDL1KEEP
	ADD $128, R0, R2
	PRFM (R2), PLDL1KEEP
	RET

// func prefetchRecord(p unsafe.Pointer)
TEXT ·prefetchRecord(SB), NOSPLIT, $0-8
	MOVD p+0(FP), R0
	PRFM (R0), PLDL1KEEP
	ADD $64, R0, R1
	PRFM (R1), PLDL1KEEP
	ADD $128, R0, R1
	PRFM (R1), PLDL1KEEP
	ADD $192, R0, R1
	PRFM (R1), PLDL1KEEP
	ADD $256, R0, R1
	PRFM (R1), PLDL1KEEP
	ADD $320, R0, R1
	PRFM (R1), PLDL1KEEP
	RET
