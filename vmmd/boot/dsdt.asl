// SPDX-License-Identifier: GPL-2.0
/*
 * The PC as its operating system sees it. Fixed hardware (PM block, power
 * button, reset register) is in the FADT. The numbers agree with machine.h:
 * MACHINE_MMIO_HOLE, MACHINE_PM_BASE.
 */

DefinitionBlock ("", "DSDT", 2, "VMM   ", "VMMPC   ", 1)
{
	// SLP_TYP 0 is S5, soft off: dev/acpipm.c
	Name (\_S5, Package () { 0, 0, 0, 0 })

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0x0000, 0x00FF, 0, 0x0100)
				IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0x0000, 0x0CF7, 0, 0x0CF8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0x0D00, 0xFFFF, 0, 0xF300)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
					0, 0xC0000000, 0xFEBFFFFF, 0, 0x3EC00000)
			})
			// PIRQ (pin + slot - 1) & 3 of slot and pin: pirq_of() in pci.c
			Name (_PRT, Package ()
			{
				Package () { 0x0000FFFF, 0, LNKD, 0 }, Package () { 0x0000FFFF, 1, LNKA, 0 },
				Package () { 0x0000FFFF, 2, LNKB, 0 }, Package () { 0x0000FFFF, 3, LNKC, 0 },
				Package () { 0x0001FFFF, 0, LNKA, 0 }, Package () { 0x0001FFFF, 1, LNKB, 0 },
				Package () { 0x0001FFFF, 2, LNKC, 0 }, Package () { 0x0001FFFF, 3, LNKD, 0 },
				Package () { 0x0002FFFF, 0, LNKB, 0 }, Package () { 0x0002FFFF, 1, LNKC, 0 },
				Package () { 0x0002FFFF, 2, LNKD, 0 }, Package () { 0x0002FFFF, 3, LNKA, 0 },
				Package () { 0x0003FFFF, 0, LNKC, 0 }, Package () { 0x0003FFFF, 1, LNKD, 0 },
				Package () { 0x0003FFFF, 2, LNKA, 0 }, Package () { 0x0003FFFF, 3, LNKB, 0 },
				Package () { 0x0004FFFF, 0, LNKD, 0 }, Package () { 0x0004FFFF, 1, LNKA, 0 },
				Package () { 0x0004FFFF, 2, LNKB, 0 }, Package () { 0x0004FFFF, 3, LNKC, 0 },
				Package () { 0x0005FFFF, 0, LNKA, 0 }, Package () { 0x0005FFFF, 1, LNKB, 0 },
				Package () { 0x0005FFFF, 2, LNKC, 0 }, Package () { 0x0005FFFF, 3, LNKD, 0 },
				Package () { 0x0006FFFF, 0, LNKB, 0 }, Package () { 0x0006FFFF, 1, LNKC, 0 },
				Package () { 0x0006FFFF, 2, LNKD, 0 }, Package () { 0x0006FFFF, 3, LNKA, 0 },
				Package () { 0x0007FFFF, 0, LNKC, 0 }, Package () { 0x0007FFFF, 1, LNKD, 0 },
				Package () { 0x0007FFFF, 2, LNKA, 0 }, Package () { 0x0007FFFF, 3, LNKB, 0 },
				Package () { 0x0008FFFF, 0, LNKD, 0 }, Package () { 0x0008FFFF, 1, LNKA, 0 },
				Package () { 0x0008FFFF, 2, LNKB, 0 }, Package () { 0x0008FFFF, 3, LNKC, 0 },
				Package () { 0x0009FFFF, 0, LNKA, 0 }, Package () { 0x0009FFFF, 1, LNKB, 0 },
				Package () { 0x0009FFFF, 2, LNKC, 0 }, Package () { 0x0009FFFF, 3, LNKD, 0 },
				Package () { 0x000aFFFF, 0, LNKB, 0 }, Package () { 0x000aFFFF, 1, LNKC, 0 },
				Package () { 0x000aFFFF, 2, LNKD, 0 }, Package () { 0x000aFFFF, 3, LNKA, 0 },
				Package () { 0x000bFFFF, 0, LNKC, 0 }, Package () { 0x000bFFFF, 1, LNKD, 0 },
				Package () { 0x000bFFFF, 2, LNKA, 0 }, Package () { 0x000bFFFF, 3, LNKB, 0 },
				Package () { 0x000cFFFF, 0, LNKD, 0 }, Package () { 0x000cFFFF, 1, LNKA, 0 },
				Package () { 0x000cFFFF, 2, LNKB, 0 }, Package () { 0x000cFFFF, 3, LNKC, 0 },
				Package () { 0x000dFFFF, 0, LNKA, 0 }, Package () { 0x000dFFFF, 1, LNKB, 0 },
				Package () { 0x000dFFFF, 2, LNKC, 0 }, Package () { 0x000dFFFF, 3, LNKD, 0 },
				Package () { 0x000eFFFF, 0, LNKB, 0 }, Package () { 0x000eFFFF, 1, LNKC, 0 },
				Package () { 0x000eFFFF, 2, LNKD, 0 }, Package () { 0x000eFFFF, 3, LNKA, 0 },
				Package () { 0x000fFFFF, 0, LNKC, 0 }, Package () { 0x000fFFFF, 1, LNKD, 0 },
				Package () { 0x000fFFFF, 2, LNKA, 0 }, Package () { 0x000fFFFF, 3, LNKB, 0 },
				Package () { 0x0010FFFF, 0, LNKD, 0 }, Package () { 0x0010FFFF, 1, LNKA, 0 },
				Package () { 0x0010FFFF, 2, LNKB, 0 }, Package () { 0x0010FFFF, 3, LNKC, 0 },
				Package () { 0x0011FFFF, 0, LNKA, 0 }, Package () { 0x0011FFFF, 1, LNKB, 0 },
				Package () { 0x0011FFFF, 2, LNKC, 0 }, Package () { 0x0011FFFF, 3, LNKD, 0 },
				Package () { 0x0012FFFF, 0, LNKB, 0 }, Package () { 0x0012FFFF, 1, LNKC, 0 },
				Package () { 0x0012FFFF, 2, LNKD, 0 }, Package () { 0x0012FFFF, 3, LNKA, 0 },
				Package () { 0x0013FFFF, 0, LNKC, 0 }, Package () { 0x0013FFFF, 1, LNKD, 0 },
				Package () { 0x0013FFFF, 2, LNKA, 0 }, Package () { 0x0013FFFF, 3, LNKB, 0 },
				Package () { 0x0014FFFF, 0, LNKD, 0 }, Package () { 0x0014FFFF, 1, LNKA, 0 },
				Package () { 0x0014FFFF, 2, LNKB, 0 }, Package () { 0x0014FFFF, 3, LNKC, 0 },
				Package () { 0x0015FFFF, 0, LNKA, 0 }, Package () { 0x0015FFFF, 1, LNKB, 0 },
				Package () { 0x0015FFFF, 2, LNKC, 0 }, Package () { 0x0015FFFF, 3, LNKD, 0 },
				Package () { 0x0016FFFF, 0, LNKB, 0 }, Package () { 0x0016FFFF, 1, LNKC, 0 },
				Package () { 0x0016FFFF, 2, LNKD, 0 }, Package () { 0x0016FFFF, 3, LNKA, 0 },
				Package () { 0x0017FFFF, 0, LNKC, 0 }, Package () { 0x0017FFFF, 1, LNKD, 0 },
				Package () { 0x0017FFFF, 2, LNKA, 0 }, Package () { 0x0017FFFF, 3, LNKB, 0 },
				Package () { 0x0018FFFF, 0, LNKD, 0 }, Package () { 0x0018FFFF, 1, LNKA, 0 },
				Package () { 0x0018FFFF, 2, LNKB, 0 }, Package () { 0x0018FFFF, 3, LNKC, 0 },
				Package () { 0x0019FFFF, 0, LNKA, 0 }, Package () { 0x0019FFFF, 1, LNKB, 0 },
				Package () { 0x0019FFFF, 2, LNKC, 0 }, Package () { 0x0019FFFF, 3, LNKD, 0 },
				Package () { 0x001aFFFF, 0, LNKB, 0 }, Package () { 0x001aFFFF, 1, LNKC, 0 },
				Package () { 0x001aFFFF, 2, LNKD, 0 }, Package () { 0x001aFFFF, 3, LNKA, 0 },
				Package () { 0x001bFFFF, 0, LNKC, 0 }, Package () { 0x001bFFFF, 1, LNKD, 0 },
				Package () { 0x001bFFFF, 2, LNKA, 0 }, Package () { 0x001bFFFF, 3, LNKB, 0 },
				Package () { 0x001cFFFF, 0, LNKD, 0 }, Package () { 0x001cFFFF, 1, LNKA, 0 },
				Package () { 0x001cFFFF, 2, LNKB, 0 }, Package () { 0x001cFFFF, 3, LNKC, 0 },
				Package () { 0x001dFFFF, 0, LNKA, 0 }, Package () { 0x001dFFFF, 1, LNKB, 0 },
				Package () { 0x001dFFFF, 2, LNKC, 0 }, Package () { 0x001dFFFF, 3, LNKD, 0 },
				Package () { 0x001eFFFF, 0, LNKB, 0 }, Package () { 0x001eFFFF, 1, LNKC, 0 },
				Package () { 0x001eFFFF, 2, LNKD, 0 }, Package () { 0x001eFFFF, 3, LNKA, 0 },
				Package () { 0x001fFFFF, 0, LNKC, 0 }, Package () { 0x001fFFFF, 1, LNKD, 0 },
				Package () { 0x001fFFFF, 2, LNKA, 0 }, Package () { 0x001fFFFF, 3, LNKB, 0 }
			})
		}

		// ports that no PCI device may be given: POST, firmware log, fw_cfg, PM
		Device (MBRD)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x0061, 0x0061, 1, 1)
				IO (Decode16, 0x0080, 0x0080, 1, 1)
				IO (Decode16, 0x0092, 0x0092, 1, 1)
				IO (Decode16, 0x0402, 0x0402, 1, 1)
				IO (Decode16, 0x04D0, 0x04D0, 1, 2)
				IO (Decode16, 0x0510, 0x0510, 1, 12)
				IO (Decode16, 0x0600, 0x0600, 1, 64)
			})
		}
	}

	Scope (\_SB.PCI0)
	{
		Device (ISA)
		{
			Name (_ADR, 0x00010000)
			OperationRegion (PIRQ, PCI_Config, 0x60, 4)
			Field (PIRQ, ByteAcc, NoLock, Preserve)
			{
				PRQA, 8, PRQB, 8, PRQC, 8, PRQD, 8
			}

			Device (PIC)
			{
				Name (_HID, EisaId ("PNP0000"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x0020, 0x0020, 1, 2)
					IO (Decode16, 0x00A0, 0x00A0, 1, 2)
					IRQNoFlags () { 2 }
				})
			}

			Device (TIMR)
			{
				Name (_HID, EisaId ("PNP0100"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x0040, 0x0040, 1, 4)
					IRQNoFlags () { 0 }
				})
			}

			Device (RTC)
			{
				Name (_HID, EisaId ("PNP0B00"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x0070, 0x0070, 1, 2)
					IRQNoFlags () { 8 }
				})
			}

			Device (COM1)
			{
				Name (_HID, EisaId ("PNP0501"))
				Name (_UID, 1)
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x03F8, 0x03F8, 8, 8)
					IRQNoFlags () { 4 }
				})
			}
		}
	}

	Scope (\_SB)
	{
		// what a PIRQ can become; the MADT has an override for each
		Name (IRQS, ResourceTemplate ()
		{
			Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 }
		})
		Method (LSTA, 1, NotSerialized)
		{
			If (And (Arg0, 0x80)) { Return (0x09) }
			Return (0x0B)
		}
		Name (CRSR, ResourceTemplate ()
		{
			Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 0 }
		})
		// byte 5 of an extended interrupt descriptor is its number
		Method (LCRS, 1, Serialized)
		{
			CreateDWordField (CRSR, 5, IRQN)
			If (LNot (And (Arg0, 0x80))) { Store (And (Arg0, 0x0F), IRQN) }
			Else { Store (0, IRQN) }
			Return (CRSR)
		}

		Device (LNKA)
		{
			Name (_HID, EisaId ("PNP0C0F"))
			Name (_UID, 1)
			Method (_PRS, 0, NotSerialized) { Return (IRQS) }
			Method (_STA, 0, NotSerialized) { Return (LSTA (\_SB.PCI0.ISA.PRQA)) }
			Method (_CRS, 0, Serialized) { Return (LCRS (\_SB.PCI0.ISA.PRQA)) }
			Method (_DIS, 0, NotSerialized) { Or (\_SB.PCI0.ISA.PRQA, 0x80, \_SB.PCI0.ISA.PRQA) }
			Method (_SRS, 1, NotSerialized)
			{
				CreateDWordField (Arg0, 5, IRQN)
				Store (IRQN, \_SB.PCI0.ISA.PRQA)
			}
		}

		Device (LNKB)
		{
			Name (_HID, EisaId ("PNP0C0F"))
			Name (_UID, 2)
			Method (_PRS, 0, NotSerialized) { Return (IRQS) }
			Method (_STA, 0, NotSerialized) { Return (LSTA (\_SB.PCI0.ISA.PRQB)) }
			Method (_CRS, 0, Serialized) { Return (LCRS (\_SB.PCI0.ISA.PRQB)) }
			Method (_DIS, 0, NotSerialized) { Or (\_SB.PCI0.ISA.PRQB, 0x80, \_SB.PCI0.ISA.PRQB) }
			Method (_SRS, 1, NotSerialized)
			{
				CreateDWordField (Arg0, 5, IRQN)
				Store (IRQN, \_SB.PCI0.ISA.PRQB)
			}
		}

		Device (LNKC)
		{
			Name (_HID, EisaId ("PNP0C0F"))
			Name (_UID, 3)
			Method (_PRS, 0, NotSerialized) { Return (IRQS) }
			Method (_STA, 0, NotSerialized) { Return (LSTA (\_SB.PCI0.ISA.PRQC)) }
			Method (_CRS, 0, Serialized) { Return (LCRS (\_SB.PCI0.ISA.PRQC)) }
			Method (_DIS, 0, NotSerialized) { Or (\_SB.PCI0.ISA.PRQC, 0x80, \_SB.PCI0.ISA.PRQC) }
			Method (_SRS, 1, NotSerialized)
			{
				CreateDWordField (Arg0, 5, IRQN)
				Store (IRQN, \_SB.PCI0.ISA.PRQC)
			}
		}

		Device (LNKD)
		{
			Name (_HID, EisaId ("PNP0C0F"))
			Name (_UID, 4)
			Method (_PRS, 0, NotSerialized) { Return (IRQS) }
			Method (_STA, 0, NotSerialized) { Return (LSTA (\_SB.PCI0.ISA.PRQD)) }
			Method (_CRS, 0, Serialized) { Return (LCRS (\_SB.PCI0.ISA.PRQD)) }
			Method (_DIS, 0, NotSerialized) { Or (\_SB.PCI0.ISA.PRQD, 0x80, \_SB.PCI0.ISA.PRQD) }
			Method (_SRS, 1, NotSerialized)
			{
				CreateDWordField (Arg0, 5, IRQN)
				Store (IRQN, \_SB.PCI0.ISA.PRQD)
			}
		}
	}
}
